//! Built-in templates that are built when somebody asks for them, not when the
//! server starts: they are large, and few want them.
//!
//! ```text
//! Absent ──ask──▶ Wanted ──taken──▶ Building ──built──▶ Ready
//!                   ▲                   │                 │
//!                   └──ask── Failed ◀───┴─────── Wanted ◀─┘ a person asks for its newest form
//! ```
//!
//! Here is only what is known and wanted; the builder waits for what is wanted
//! ([`App::next_demanded`]) and says how it goes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::{App, Caller, Error};

/// How far a template on demand is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// Nobody asked for it since the server started.
    Idle,
    /// Somebody asked, and the builder has not come to it yet; with what became
    /// of the attempt before, if it failed.
    Wanted(Option<String>),
    /// It is being built: how far, in words.
    Building(String),
    /// It was built, or was there already.
    Ready,
    /// The last attempt failed; the next question begins another.
    Failed(String),
}

impl Demand {
    /// After somebody asked for it.
    fn asked(self) -> Self {
        match self {
            Self::Idle | Self::Ready => Self::Wanted(None),
            Self::Failed(why) => Self::Wanted(Some(why)),
            under_way @ (Self::Wanted(_) | Self::Building(_)) => under_way,
        }
    }

    /// In words, for whoever has to wait.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Idle => "nobody asked for it yet".to_owned(),
            Self::Ready => "it is ready".to_owned(),
            Self::Wanted(None) => "its build begins now".to_owned(),
            Self::Wanted(Some(why)) => format!("its last build failed and begins again: {why}"),
            Self::Building(progress) => progress.clone(),
            Self::Failed(why) => format!("its last build failed: {why}"),
        }
    }
}

/// Those that are offered, by name.
#[derive(Debug, Default)]
pub(super) struct Demands {
    offered: Mutex<BTreeMap<&'static str, Demand>>,
    /// Rung when one becomes wanted.
    bell: Notify,
}

impl Demands {
    fn change<T>(&self, name: &str, change: impl FnOnce(&mut Demand) -> T) -> Option<T> {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.get_mut(name).map(change)
    }

    fn first_wanted(&self) -> Option<&'static str> {
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.iter().find(|(_, demand)| matches!(demand, Demand::Wanted(_))).map(|(name, _)| *name)
    }
}

impl App {
    /// Lets clients ask for these templates, which are not built at the start.
    pub fn offer_on_demand(&self, names: &[&'static str]) {
        let mut offered = self.0.demands.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.extend(names.iter().map(|name| (*name, Demand::Idle)));
    }

    /// Waits for a template that somebody asked for. Cancel-safe: what is wanted
    /// stays so until [`say_demand`](Self::say_demand) says otherwise.
    pub async fn next_demanded(&self) -> &'static str {
        loop {
            // The bell keeps one stroke: what is asked for after this look is not missed.
            if let Some(name) = self.0.demands.first_wanted() {
                return name;
            }
            self.0.demands.bell.notified().await;
        }
    }

    /// Says how far a template on demand is.
    pub fn say_demand(&self, name: &str, demand: Demand) {
        self.0.demands.change(name, |now| *now = demand);
    }

    /// Asks for a template: what is to be said to whoever wants it now; `None` if
    /// it is not offered.
    pub(super) fn demand(&self, name: &str) -> Option<String> {
        let told = self.0.demands.change(name, |demand| {
            *demand = std::mem::replace(demand, Demand::Idle).asked();
            demand.told()
        })?;
        self.0.demands.bell.notify_one();
        Some(told)
    }

    /// Asks for the newest form of a template on demand.
    pub(crate) async fn order_default(&self, caller: &Caller, name: &str) -> Result<Demand, Error> {
        self.demand(name).ok_or_else(|| Error::NoTemplate(name.to_owned()))?;
        self.default_progress(caller, name).await
    }

    /// How far a template on demand is.
    pub(crate) async fn default_progress(&self, caller: &Caller, name: &str) -> Result<Demand, Error> {
        let none = || Error::NoTemplate(name.to_owned());
        let demand = self.0.demands.change(name, |demand| demand.clone()).ok_or_else(none)?;
        // One that an earlier run of the server built is there, though nobody asked this one.
        let there = demand == Demand::Idle && {
            let found = self.templates(caller).await?;
            let mut built_in = found.iter().filter(|found| found.template.team_id.is_none());
            built_in.any(|found| found.aliases.iter().any(|alias| alias.alias == name))
        };
        Ok(if there { Demand::Ready } else { demand })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_demand() -> impl Strategy<Value = Demand> {
        prop_oneof![
            Just(Demand::Idle),
            Just(Demand::Ready),
            "[a-z]{1,8}".prop_map(Demand::Building),
            "[a-z]{1,8}".prop_map(Demand::Failed),
            proptest::option::of("[a-z]{1,8}").prop_map(Demand::Wanted),
        ]
    }

    proptest! {
        #[test]
        fn whoever_asks_sets_a_build_going_and_disturbs_none(demand in any_demand()) {
            let asked = demand.clone().asked();
            let under_way = matches!(demand, Demand::Wanted(_) | Demand::Building(_));
            prop_assert!(matches!(asked, Demand::Wanted(_) | Demand::Building(_)));
            prop_assert_eq!(under_way, asked == demand);
            // Asking again changes nothing, and a failure is told to the next who asks.
            prop_assert_eq!(asked.clone().asked(), asked.clone());
            if let Demand::Failed(why) = demand {
                prop_assert!(asked.told().contains(&why));
            }
        }
    }
}
