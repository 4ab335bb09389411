//! What an operator does: teams, people, keys. Goes with the admin token.

use std::env;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::rest::{
    AdminTeam, AdminUser, ApiKey, CreatedAccessToken, CreatedApiKey, Named, NewTeam, NewUser, TeamChange,
};

use crate::api::{json, parse};
use crate::http::escape;
use crate::{Config, Error, ErrorKind};

/// The operator's side of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    config: Config,
    token: HeaderValue,
}

impl Admin {
    /// The server at `E2B_API_URL` (at `default_url` without), with the token in
    /// `WARREN_ADMIN_TOKEN` or else in this file.
    pub fn from_env(default_url: &str, token_file: &Path) -> Result<Self, Error> {
        let get = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let url = get("E2B_API_URL").unwrap_or_else(|| default_url.to_owned());
        let token = match get("WARREN_ADMIN_TOKEN") {
            Some(token) => token,
            None => fs::read_to_string(token_file).map_err(|e| {
                let text = format!(
                    "no admin token: set WARREN_ADMIN_TOKEN, or name the file that the server keeps it in \
                     ({} cannot be read)",
                    token_file.display()
                );
                Error::caused(ErrorKind::Authentication, text, e)
            })?,
        };
        Self::new(&url, token.trim())
    }

    /// The server at a URL, with this token.
    pub fn new(url: &str, token: &str) -> Result<Self, Error> {
        let config = Config::local(url, "");
        let mut token = HeaderValue::from_str(token)
            .map_err(|e| Error::caused(ErrorKind::Authentication, "the admin token is no header value", e))?;
        token.set_sensitive(true);
        Ok(Self { config, token })
    }

    /// Every team.
    pub async fn teams(&self) -> Result<Vec<AdminTeam>, Error> {
        self.call(Method::GET, "/admin/teams", None, &()).await
    }

    /// Makes a team.
    pub async fn make_team(&self, new: &NewTeam) -> Result<AdminTeam, Error> {
        self.call(Method::POST, "/admin/teams", None, new).await
    }

    /// Changes a team.
    pub async fn change_team(&self, team_id: &str, change: &TeamChange) -> Result<AdminTeam, Error> {
        self.call(Method::PATCH, &format!("/admin/teams/{}", escape(team_id)), None, change).await
    }

    /// Lets a person into a team; adds them if need be.
    pub async fn add_member(&self, team_id: &str, email: &str) -> Result<AdminUser, Error> {
        let path = format!("/admin/teams/{}/members", escape(team_id));
        self.call(Method::POST, &path, None, &NewUser { email: email.to_owned() }).await
    }

    /// Makes an access token for a person.
    pub async fn make_token(&self, user_id: &str, name: &str) -> Result<CreatedAccessToken, Error> {
        let path = format!("/admin/users/{}/access-tokens", escape(user_id));
        self.call(Method::POST, &path, None, &Named { name: name.to_owned() }).await
    }

    /// The keys of a team.
    pub async fn keys(&self, team_id: &str) -> Result<Vec<ApiKey>, Error> {
        self.call(Method::GET, "/api-keys", Some(team_id), &()).await
    }

    /// Makes a key for a team.
    pub async fn make_key(&self, team_id: &str, name: &str) -> Result<CreatedApiKey, Error> {
        let path = format!("/admin/teams/{}/api-keys", escape(team_id));
        self.call(Method::POST, &path, None, &Named { name: name.to_owned() }).await
    }

    /// Renames a key of a team.
    pub async fn rename_key(&self, team_id: &str, key_id: &str, name: &str) -> Result<ApiKey, Error> {
        let path = format!("/api-keys/{}", escape(key_id));
        self.call(Method::PATCH, &path, Some(team_id), &Named { name: name.to_owned() }).await
    }

    /// Revokes a key of a team.
    pub async fn revoke_key(&self, team_id: &str, key_id: &str) -> Result<(), Error> {
        let path = format!("/api-keys/{}", escape(key_id));
        self.send(Method::DELETE, &path, Some(team_id), Bytes::new()).await.map(drop)
    }

    async fn call<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        team_id: Option<&str>,
        body: &Q,
    ) -> Result<A, Error> {
        let body = if method == Method::GET { Bytes::new() } else { json(body)? };
        parse(&self.send(method, path, team_id, body).await?)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        team_id: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        let Config { api_url, http, request_timeout, .. } = &self.config;
        let url = format!("{api_url}{path}");
        http.call(method, &url, self.headers(team_id)?, body, *request_timeout).await
    }

    fn headers(&self, team_id: Option<&str>) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("x-admin-token", self.token.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(id) = team_id {
            let id = HeaderValue::from_str(id).map_err(|e| {
                Error::caused(ErrorKind::InvalidArgument, "the team's id is no header value", e)
            })?;
            headers.insert("x-team-id", id);
        }
        Ok(headers)
    }
}
