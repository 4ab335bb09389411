//! `/events/sandboxes` and `/events/webhooks`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::KeyId;
use store::{EventKind, EventQuery};
use wire::rest::{SandboxEvent, Undelivered, Webhook, WebhookSettings};

use super::error::Failure;
use super::extract::{Body, Fields, Id, Part};
use super::sandbox::moment;
use crate::App;
use crate::app::{Caller, Wanted, told};

const PAGE_MAX: u64 = 100;
const PAGE: u64 = 10;

/// `types` may come again and again, so the query is read as pairs.
type Pairs = Fields<Vec<(String, String)>>;

pub(super) async fn all(
    State(app): State<App>,
    caller: Caller,
    Fields(pairs): Pairs,
) -> Result<Json<Vec<SandboxEvent>>, Failure> {
    let events = app.events(&caller, &query(&pairs)?).await?;
    Ok(Json(events.iter().map(|event| told(event, "v1")).collect()))
}

pub(super) async fn of_sandbox(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Fields(pairs): Pairs,
) -> Result<Json<Vec<SandboxEvent>>, Failure> {
    let query = EventQuery { sandbox_id: Some(id), ..query(&pairs)? };
    let events = app.events(&caller, &query).await?;
    Ok(Json(events.iter().map(|event| told(event, "v1")).collect()))
}

fn query(pairs: &[(String, String)]) -> Result<EventQuery, Failure> {
    let mut query =
        EventQuery { sandbox_id: None, kinds: Vec::new(), offset: 0, limit: PAGE, oldest_first: false };
    let refused = |text: &str| Failure::bad_request(format!("validation error: {text}"));
    for (name, value) in pairs {
        match name.as_str() {
            "offset" => {
                let offset = value.parse().ok().filter(|offset: &u64| i64::try_from(*offset).is_ok());
                query.offset = offset.ok_or_else(|| refused("offset must be a number from 0 on"))?;
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                query.limit = limit.ok_or_else(|| refused("limit must be 1 to 100"))?;
            }
            "orderAsc" => {
                let order = value.parse().map_err(|_| refused("orderAsc must be true or false"))?;
                query.oldest_first = order;
            }
            "types" => query.kinds.extend(kinds(value.split(','))?),
            _ => {}
        }
    }
    Ok(query)
}

fn kinds<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<EventKind>, Failure> {
    let one = |text: &str| {
        let unknown = || Failure::bad_request(format!("validation error: there is no event type '{text}'"));
        text.parse::<EventKind>().map_err(|()| unknown())
    };
    texts.filter(|text| !text.is_empty()).map(one).collect()
}

pub(super) async fn webhooks(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Webhook>>, Failure> {
    Ok(Json(app.webhooks(&caller).await?.into_iter().map(shown).collect()))
}

pub(super) async fn make_webhook(
    State(app): State<App>,
    caller: Caller,
    Body(settings): Body<WebhookSettings>,
) -> Result<(StatusCode, Json<Webhook>), Failure> {
    let made = app.make_webhook(&caller, wanted(settings)?).await?;
    Ok((StatusCode::CREATED, Json(shown(made))))
}

pub(super) async fn webhook(
    State(app): State<App>,
    caller: Caller,
    Part(id): Part<KeyId>,
) -> Result<Json<Webhook>, Failure> {
    Ok(Json(shown(app.webhook(caller.team.team_id, id).await?)))
}

pub(super) async fn change_webhook(
    State(app): State<App>,
    caller: Caller,
    Part(id): Part<KeyId>,
    Body(settings): Body<WebhookSettings>,
) -> Result<Json<Webhook>, Failure> {
    Ok(Json(shown(app.change_webhook(&caller, id, wanted(settings)?).await?)))
}

pub(super) async fn remove_webhook(
    State(app): State<App>,
    caller: Caller,
    Part(id): Part<KeyId>,
) -> Result<StatusCode, Failure> {
    app.remove_webhook(&caller, id).await?;
    Ok(StatusCode::OK)
}

pub(super) async fn undelivered(
    State(app): State<App>,
    caller: Caller,
    Part(id): Part<KeyId>,
) -> Result<Json<Vec<Undelivered>>, Failure> {
    let one = |message: store::Undelivered| Undelivered {
        event: told(&message.event, "v2"),
        attempts: message.attempts,
        next_attempt_at: message.due_at.map(moment),
        error: message.error,
    };
    Ok(Json(app.undelivered(&caller, id).await?.into_iter().map(one).collect()))
}

fn wanted(settings: WebhookSettings) -> Result<Wanted, Failure> {
    let events = settings.events.map(|names| kinds(names.iter().map(String::as_str))).transpose()?;
    Ok(Wanted {
        name: settings.name,
        url: settings.url,
        enabled: settings.enabled,
        events,
        secret: settings.signature_secret,
    })
}

fn shown(webhook: store::Webhook) -> Webhook {
    Webhook {
        id: webhook.webhook_id.to_string(),
        team_id: webhook.team_id.to_string(),
        name: webhook.name,
        created_at: moment(webhook.created_at),
        enabled: webhook.enabled,
        url: webhook.url,
        events: webhook.events.iter().map(|kind| kind.as_str().to_owned()).collect(),
    }
}
