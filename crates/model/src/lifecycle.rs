//! The life of one sandbox as a table: (state, event) → accept, already true, or refuse.
//!
//! ```text
//!  Admitted ─▶ Reserved ─▶ Prepared ─▶ Booted ─▶ Running ─▶ Pausing ─▶ Paused
//!      │           │           │          │       │  ▲ ▲       │         │
//!      │           │           │          │       │  │ └───────┘         │
//!      │           │           │          │       ▼  │     (failed)      │
//!      │           │           │          │  Snapshotting    ▲           │
//!      │           │           │          │                  └ Resuming ◀┘
//!      └───────────┴───────────┴──────────┴── any ──▶ Ending ──▶ Ended
//! ```
//!
//! The driver asks this table before it acts, and does what the table says.
//! Whatever the state, a kill leads to `Ending`; nothing leaves `Ended`.

use crate::EndCause;

/// Where a sandbox stands. The names of the start say what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Its record and its slot; nothing of a machine.
    Admitted,
    /// The scarce things of the host.
    Reserved,
    /// Its root and its network.
    Prepared,
    /// Its first process, which has not answered.
    Booted,
    /// The daemon answered: usable.
    Running,
    /// Its state is being written, the sandbox frozen.
    Pausing,
    /// Only its state on disk.
    Paused,
    /// Its state is being copied; it goes on afterwards.
    Snapshotting,
    /// Its state is being read back.
    Resuming,
    /// Being removed.
    Ending(EndCause),
    /// Removed; its record stays.
    Ended(EndCause),
}

/// What happens to a sandbox, from outside or as the end of what its driver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The step under way (of a start, pause, snapshot or resume) succeeded.
    StepDone,
    /// The step under way failed.
    StepFailed,
    /// Everything of it was removed from the host.
    Undone,
    /// Somebody wants it gone, or its time is up.
    Kill(EndCause),
    /// Its first process ended.
    Exited(EndCause),
    /// Somebody moves its end.
    SetDeadline,
    /// Somebody wants it paused.
    Pause,
    /// Somebody wants it running.
    Resume,
    /// Somebody wants a copy of its state.
    Snapshot,
}

/// What the driver does upon an accepted event, besides publishing the new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Claim what is scarce.
    Reserve,
    /// Make root and network.
    Prepare,
    /// Start the first process.
    Boot,
    /// Tell the daemon what it has to know and wait for its answer.
    Init,
    /// Let it live until its deadline.
    ArmDeadline,
    /// Drop the step under way, end all processes, undo every step.
    Undo,
    /// Keep the record of its end and forget the rest.
    Remember,
    /// Freeze it and write its state.
    Suspend,
    /// Copy its state and let it go on.
    Copy,
    /// Read its state back.
    Wake,
}

/// Why an event cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It is not usable yet.
    #[error("it is still starting")]
    Starting,
    /// It is on its way out.
    #[error("it is being killed")]
    Ending,
    /// It is gone.
    #[error("it has ended")]
    Ended,
    /// It is frozen for a moment; ask again.
    #[error("it is being paused, resumed or copied")]
    Busy,
    /// It has no processes now.
    #[error("it is paused")]
    Paused,
    /// The driver reports an end of something that it did not begin.
    #[error("nothing is under way")]
    NothingUnderWay,
}

/// The answer of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Go to this state and do this.
    Accept(State, Action),
    /// What is wanted is so already, or is on its way.
    AlreadyTrue,
    /// It cannot be.
    Refuse(Refusal),
}

impl State {
    /// Whether it is on its way up for the first time.
    pub const fn is_starting(self) -> bool {
        matches!(self, Self::Admitted | Self::Reserved | Self::Prepared | Self::Booted)
    }

    const fn is_busy(self) -> bool {
        matches!(self, Self::Pausing | Self::Snapshotting | Self::Resuming)
    }

    /// Why a request other than a kill cannot be followed here; `None` when running.
    const fn refusal(self) -> Option<Refusal> {
        Some(match self {
            Self::Admitted | Self::Reserved | Self::Prepared | Self::Booted => Refusal::Starting,
            Self::Pausing | Self::Snapshotting | Self::Resuming => Refusal::Busy,
            Self::Paused => Refusal::Paused,
            Self::Ending(_) => Refusal::Ending,
            Self::Ended(_) => Refusal::Ended,
            Self::Running => return None,
        })
    }
}

/// Decides what an event means in a state.
pub const fn transition(state: State, event: Event) -> Decision {
    match event {
        Event::Kill(cause) => kill(state, cause),
        Event::Exited(cause) => exited(state, cause),
        Event::StepDone => step_done(state),
        Event::StepFailed => step_failed(state),
        Event::Undone => match state {
            State::Ending(cause) => Decision::Accept(State::Ended(cause), Action::Remember),
            State::Ended(_) => Decision::AlreadyTrue,
            _ => Decision::Refuse(Refusal::NothingUnderWay),
        },
        Event::SetDeadline => request(state, State::Running, Action::ArmDeadline),
        Event::Snapshot => request(state, State::Snapshotting, Action::Copy),
        Event::Pause => match state {
            State::Paused | State::Pausing => Decision::AlreadyTrue,
            _ => request(state, State::Pausing, Action::Suspend),
        },
        Event::Resume => match state {
            State::Paused => Decision::Accept(State::Resuming, Action::Wake),
            State::Running | State::Resuming => Decision::AlreadyTrue,
            _ => request(state, State::Resuming, Action::Wake),
        },
    }
}

/// A request that only a running sandbox can follow.
const fn request(state: State, next: State, action: Action) -> Decision {
    match state.refusal() {
        Some(refusal) => Decision::Refuse(refusal),
        None => Decision::Accept(next, action),
    }
}

/// The first cause stays: a kill of what is ending anyway changes nothing.
const fn kill(state: State, cause: EndCause) -> Decision {
    match state {
        State::Ending(_) | State::Ended(_) => Decision::AlreadyTrue,
        _ => Decision::Accept(State::Ending(cause), Action::Undo),
    }
}

/// While it is suspended its processes end because we end them: no event of its
/// life. One that ends while it wakes is a failed step: its state on disk stays.
const fn exited(state: State, cause: EndCause) -> Decision {
    match state {
        State::Ending(_) | State::Ended(_) | State::Pausing | State::Paused | State::Resuming => {
            Decision::AlreadyTrue
        }
        State::Admitted | State::Reserved | State::Prepared => Decision::Refuse(Refusal::NothingUnderWay),
        State::Booted => Decision::Accept(State::Ending(EndCause::StartFailed), Action::Undo),
        State::Running | State::Snapshotting => Decision::Accept(State::Ending(cause), Action::Undo),
    }
}

const fn step_done(state: State) -> Decision {
    match state {
        State::Admitted => Decision::Accept(State::Reserved, Action::Prepare),
        State::Reserved => Decision::Accept(State::Prepared, Action::Boot),
        State::Prepared => Decision::Accept(State::Booted, Action::Init),
        State::Booted | State::Resuming | State::Snapshotting => {
            Decision::Accept(State::Running, Action::ArmDeadline)
        }
        State::Pausing => Decision::Accept(State::Paused, Action::ArmDeadline),
        State::Running | State::Paused => Decision::Refuse(Refusal::NothingUnderWay),
        // A step that ended while the kill was on its way.
        State::Ending(_) => Decision::Refuse(Refusal::Ending),
        State::Ended(_) => Decision::Refuse(Refusal::Ended),
    }
}

/// A failed start ends the sandbox; a failed pause, copy or resume leaves it as it was.
const fn step_failed(state: State) -> Decision {
    if state.is_starting() {
        return Decision::Accept(State::Ending(EndCause::StartFailed), Action::Undo);
    }
    match state {
        State::Resuming => Decision::Accept(State::Paused, Action::ArmDeadline),
        state if state.is_busy() => Decision::Accept(State::Running, Action::ArmDeadline),
        State::Ending(_) => Decision::Refuse(Refusal::Ending),
        State::Ended(_) => Decision::Refuse(Refusal::Ended),
        _ => Decision::Refuse(Refusal::NothingUnderWay),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::KilledBy;

    fn causes() -> impl Strategy<Value = EndCause> {
        prop_oneof![
            Just(EndCause::Killed(KilledBy::Client)),
            Just(EndCause::Killed(KilledBy::Operator)),
            Just(EndCause::Timeout),
            Just(EndCause::OutOfMemory),
            Just(EndCause::Crashed),
            Just(EndCause::HostLost),
        ]
    }

    fn states() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Admitted),
            Just(State::Reserved),
            Just(State::Prepared),
            Just(State::Booted),
            Just(State::Running),
            Just(State::Pausing),
            Just(State::Paused),
            Just(State::Snapshotting),
            Just(State::Resuming),
            causes().prop_map(State::Ending),
            causes().prop_map(State::Ended),
        ]
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::StepDone),
            Just(Event::StepFailed),
            Just(Event::Undone),
            causes().prop_map(Event::Kill),
            causes().prop_map(Event::Exited),
            Just(Event::SetDeadline),
            Just(Event::Pause),
            Just(Event::Resume),
            Just(Event::Snapshot),
        ]
    }

    #[test]
    fn a_start_walks_the_four_steps_in_order() {
        let mut state = State::Admitted;
        let mut seen = Vec::new();
        while let Decision::Accept(next, action) = transition(state, Event::StepDone) {
            seen.push(action);
            state = next;
            if state == State::Running {
                break;
            }
        }
        assert_eq!(seen, [Action::Prepare, Action::Boot, Action::Init, Action::ArmDeadline]);
    }

    #[test]
    fn requests_are_refused_with_the_reason() {
        assert_eq!(transition(State::Booted, Event::Pause), Decision::Refuse(Refusal::Starting));
        assert_eq!(transition(State::Paused, Event::Snapshot), Decision::Refuse(Refusal::Paused));
        assert_eq!(transition(State::Pausing, Event::Resume), Decision::Refuse(Refusal::Busy));
        assert_eq!(transition(State::Running, Event::Resume), Decision::AlreadyTrue);
        assert_eq!(transition(State::Paused, Event::Pause), Decision::AlreadyTrue);
    }

    proptest! {
        #[test]
        fn a_kill_pre_empts_everything_and_the_first_cause_stays(state in states(), cause in causes()) {
            match (state, transition(state, Event::Kill(cause))) {
                (State::Ending(_) | State::Ended(_), decision) => prop_assert_eq!(decision, Decision::AlreadyTrue),
                (_, decision) => {
                    prop_assert_eq!(decision, Decision::Accept(State::Ending(cause), Action::Undo));
                }
            }
        }

        #[test]
        fn nothing_leaves_ended_and_only_undone_leaves_ending(cause in causes(), event in events()) {
            prop_assert!(!matches!(transition(State::Ended(cause), event), Decision::Accept(..)));
            match transition(State::Ending(cause), event) {
                Decision::Accept(next, action) => {
                    prop_assert_eq!(event, Event::Undone);
                    prop_assert_eq!((next, action), (State::Ended(cause), Action::Remember));
                }
                Decision::AlreadyTrue | Decision::Refuse(_) => {}
            }
        }

        #[test]
        fn undo_is_ordered_exactly_on_the_way_to_ending(state in states(), event in events()) {
            if let Decision::Accept(next, action) = transition(state, event) {
                prop_assert_eq!(matches!(next, State::Ending(_)), action == Action::Undo);
                prop_assert_eq!(matches!(next, State::Ended(_)), action == Action::Remember);
            }
        }

        #[test]
        fn what_is_paused_is_given_up_only_by_a_kill(event in events()) {
            for state in [State::Pausing, State::Paused, State::Resuming] {
                if let Decision::Accept(next, _) = transition(state, event) {
                    let goes = matches!(next, State::Ending(_));
                    prop_assert_eq!(goes, matches!(event, Event::Kill(_)), "{:?} {:?}", state, event);
                }
            }
        }

        #[test]
        fn any_history_can_be_ended(history in prop::collection::vec(events(), 0..30), cause in causes()) {
            let mut state = State::Admitted;
            for event in history {
                if let Decision::Accept(next, _) = transition(state, event) {
                    state = next;
                }
            }
            for event in [Event::Kill(cause), Event::Undone] {
                if let Decision::Accept(next, _) = transition(state, event) {
                    state = next;
                }
            }
            prop_assert!(matches!(state, State::Ended(_)));
        }
    }
}
