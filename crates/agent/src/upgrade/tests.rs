//! The table: what is taken, what is refused, what a trial ends with.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use moorline_control::{Data, Model, Offer, Stamp, Version, base64_of};
use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(1000);
const SIZE: u32 = 20_000;

fn own() -> Stamp {
    Stamp {
        version: Version(0, 1, 0),
        target: Model::new("mipsel").unwrap(),
    }
}

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap()
}

fn offer(version: Version) -> Offer {
    let mut offer = Offer {
        target: own().target,
        version,
        bytes: SIZE,
        sha512: [7; 64],
        signature: [0; 64],
    };
    let signature = signer().sign(offer.signed_text().as_bytes());
    offer.signature = signature.as_ref().try_into().unwrap();
    offer
}

fn new_upgrade() -> Upgrade {
    let line = format!("ed25519 {}", base64_of(signer().public_key().as_ref()));
    Upgrade::new(Keys::parse(&line).0, Some(own()), PATIENCE)
}

/// Answers whatever wants an answer, as a flash with room does, and gives the rest.
fn run(upgrade: &mut Upgrade, now: Duration, session: bool, event: Event) -> Vec<Action> {
    let (mut said, mut events) = (Vec::new(), vec![event]);
    while let Some(event) = events.pop() {
        for action in upgrade.step(now, session, event) {
            match action {
                Action::Open(_) => events.push(Event::Opened(Some(0))),
                Action::Append(_) => events.push(Event::Appended(true)),
                Action::Finish(_) => events.push(Event::Finished(Received::Whole)),
                Action::Begin => {
                    said.push(Action::Begin);
                    events.push(Event::Begun(true));
                }
                Action::Install => {
                    said.push(Action::Install);
                    events.push(Event::Installed(true));
                }
                Action::Note(..) => {}
                other => said.push(other),
            }
        }
    }
    said
}

fn part(offset: u32) -> Event {
    let length = (SIZE - offset).min(756) as usize;
    Event::Part(offset, Data::new(vec![1; length]).unwrap())
}

/// To the trial.
fn tried() -> Upgrade {
    let mut upgrade = new_upgrade();
    run(
        &mut upgrade,
        NOW,
        true,
        Event::Offer(offer(Version(0, 2, 0))),
    );
    let mut last = Vec::new();
    for offset in (0..SIZE).step_by(756) {
        last = run(&mut upgrade, NOW, true, part(offset));
    }
    assert_eq!(last, [Action::Tell(SIZE), Action::Begin]);
    assert!(upgrade.tries());
    upgrade
}

#[test]
fn a_good_one_is_received_tried_installed_and_the_old_one_exits() {
    let mut upgrade = tried();
    assert_eq!(
        run(&mut upgrade, NOW, false, Event::Hello),
        [Action::Install, Action::End]
    );
    assert_eq!(
        run(&mut upgrade, NOW, false, Event::Ended),
        [Action::Kill, Action::Exit]
    );
}

#[test]
fn one_that_ends_by_itself_is_taken_back() {
    let mut upgrade = tried();
    let back = Action::TakeBack(Version(0, 2, 0), "it ended by itself");
    let all = run(&mut upgrade, NOW, false, Event::Ended);
    assert_eq!(all, [Action::Kill, back, Action::Resume]);
    assert!(upgrade.looks());
}

#[test]
fn one_without_a_hello_for_five_minutes_is_taken_back_also_when_it_does_not_end() {
    let (mut upgrade, killed) = silent();
    assert!(!upgrade.looks(), "it is not found again meanwhile");
    // This agent has a session, and so might the other one have had.
    assert_eq!(upgrade.due(true), Some(Duration::ZERO));
    let why = "it had no session in time, and this one has";
    let back = Action::TakeBack(Version(0, 2, 0), why);
    let later = killed + Duration::from_secs(20);
    assert_eq!(run(&mut upgrade, later, true, Event::Tick), [back]);
    assert!(upgrade.looks());
}

#[test]
fn nobody_is_to_blame_while_the_network_is_away_and_it_is_tried_again() {
    let (mut upgrade, killed) = silent();
    let doubt = killed + Duration::from_secs(90);
    assert_eq!(upgrade.due(false), Some(doubt));
    assert_eq!(run(&mut upgrade, doubt, false, Event::Tick), []);
    let back = doubt + Duration::from_secs(3600);
    assert_eq!(
        run(&mut upgrade, back, true, Event::Tick),
        [Action::Begin],
        "once a session is up"
    );
    assert_eq!(
        run(&mut upgrade, back, false, Event::Hello),
        [Action::Install, Action::End]
    );
}

/// One that said nothing in its trial, was told to end and killed; when that was.
fn silent() -> (Upgrade, Duration) {
    let mut upgrade = tried();
    let end = NOW + Duration::from_secs(300);
    assert_eq!(upgrade.due(false), Some(end));
    let just = end - Duration::from_millis(1);
    assert_eq!(run(&mut upgrade, just, false, Event::Tick), []);
    assert_eq!(run(&mut upgrade, end, false, Event::Tick), [Action::End]);
    assert_eq!(
        run(&mut upgrade, end, false, Event::Hello),
        [],
        "too late is too late"
    );
    let killed = end + Duration::from_secs(2);
    assert_eq!(upgrade.due(false), Some(killed));
    let all = run(&mut upgrade, killed, false, Event::Tick);
    assert_eq!(all, [Action::Kill, Action::Postpone, Action::Resume]);
    (upgrade, killed)
}

#[test]
fn one_that_cannot_be_put_in_place_is_taken_back() {
    let mut upgrade = tried();
    assert_eq!(upgrade.step(NOW, false, Event::Hello), [Action::Install]);
    assert_eq!(
        upgrade.step(NOW, false, Event::Installed(false)),
        [Action::End]
    );
    let back = Action::TakeBack(Version(0, 2, 0), "it cannot be put in place");
    let all = run(&mut upgrade, NOW, false, Event::Ended);
    assert_eq!(all, [Action::Kill, back, Action::Resume]);
}

#[test]
fn nothing_is_opened_for_a_forged_or_older_offer_and_parts_alone_do_nothing() {
    let mut upgrade = new_upgrade();
    let mut forged = offer(Version(0, 2, 0));
    forged.signature[0] ^= 1;
    assert_eq!(
        run(&mut upgrade, NOW, true, Event::Offer(forged)),
        [Action::Refuse("signature")]
    );
    assert_eq!(
        run(
            &mut upgrade,
            NOW,
            true,
            Event::Offer(offer(Version(0, 0, 9)))
        ),
        [Action::Refuse("version")]
    );
    assert_eq!(run(&mut upgrade, NOW, true, part(0)), []);
}

#[test]
fn a_wrong_digest_ends_it_and_so_does_a_full_flash() {
    let mut upgrade = new_upgrade();
    let offered = Event::Offer(offer(Version(0, 2, 0)));
    run(&mut upgrade, NOW, true, offered.clone());
    let mut all = Vec::new();
    for offset in (0..SIZE).step_by(756) {
        let steps = upgrade.step(NOW, true, part(offset));
        assert!(matches!(steps[..], [Action::Append(_)]));
        all = upgrade.step(NOW, true, Event::Appended(true));
    }
    assert!(matches!(all[..], [Action::Finish(_)]));
    let all = upgrade.step(NOW, true, Event::Finished(Received::Foreign));
    assert_eq!(all[0], Action::Refuse("sha512"));
    assert!(!upgrade.tries() && upgrade.looks());

    let opened = upgrade.step(NOW, true, offered.clone());
    assert!(matches!(opened[..], [Action::Open(_)]));
    assert_eq!(
        upgrade.step(NOW, true, Event::Opened(None))[0],
        Action::Refuse("bytes")
    );
    run(&mut upgrade, NOW, true, offered.clone());
    upgrade.step(NOW, true, part(0));
    assert_eq!(
        upgrade.step(NOW, true, Event::Appended(false))[0],
        Action::Refuse("bytes")
    );
    // It came whole, and the flash does not take its digest: that is no forgery.
    run(&mut upgrade, NOW, true, offered);
    for offset in (0..SIZE).step_by(756) {
        upgrade.step(NOW, true, part(offset));
        upgrade.step(NOW, true, Event::Appended(true));
    }
    assert_eq!(
        upgrade.step(NOW, true, Event::Finished(Received::NotKept))[0],
        Action::Refuse("bytes")
    );
}

#[test]
fn a_cut_transfer_goes_on_where_it_was_and_offsets_are_told_in_time() {
    let mut upgrade = new_upgrade();
    let offered = Event::Offer(offer(Version(0, 2, 0)));
    assert_eq!(
        run(&mut upgrade, NOW, true, offered.clone()),
        [Action::Tell(0)]
    );
    let mut told = Vec::new();
    for index in 0..20 {
        told.extend(run(&mut upgrade, NOW, true, part(index * 756)));
    }
    assert_eq!(told, [Action::Tell(8 * 756), Action::Tell(16 * 756)]);
    assert_eq!(run(&mut upgrade, NOW, true, part(25 * 756)), [], "ahead");
    assert_eq!(run(&mut upgrade, NOW, true, part(0)), [], "again");
    assert_eq!(
        run(&mut upgrade, NOW, true, offered),
        [Action::Tell(20 * 756)]
    );
    // After a restart the flash tells how much is there.
    let mut after = new_upgrade();
    after.step(NOW, true, Event::Offer(offer(Version(0, 2, 0))));
    assert_eq!(
        after.step(NOW, true, Event::Opened(Some(7560))),
        [Action::Tell(7560)]
    );
}

#[test]
fn an_owner_s_agent_is_tried_as_soon_as_a_session_is_up_and_not_before() {
    let mut upgrade = new_upgrade();
    let found = Event::Found(Version(0, 0, 1));
    assert_eq!(run(&mut upgrade, NOW, false, found), []);
    assert_eq!(upgrade.due(false), None);
    assert_eq!(upgrade.due(true), Some(Duration::ZERO));
    assert_eq!(
        run(&mut upgrade, NOW, true, Event::Tick),
        [Action::Begin],
        "an older one too: it is the owner's word"
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Tick),
        1 => Just(Event::Offer(offer(Version(0, 2, 0)))),
        1 => Just(Event::Offer(offer(Version(0, 0, 1)))),
        8 => (0u32..30).prop_map(|index| part((index * 756).min(SIZE - 1))),
        3 => Just(Event::Opened(Some(0))),
        3 => Just(Event::Opened(None)),
        3 => any::<bool>().prop_map(Event::Appended),
        3 => prop::sample::select(vec![Received::Whole, Received::Foreign, Received::NotKept])
            .prop_map(Event::Finished),
        3 => Just(Event::Found(Version(0, 3, 0))),
        3 => any::<bool>().prop_map(Event::Begun),
        3 => Just(Event::Hello),
        3 => Just(Event::Ended),
        3 => any::<bool>().prop_map(Event::Installed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in whatever order: it is installed only in a trial, and whoever was paused for a trial has sessions again or exits.
    #[test]
    fn whatever_happens_the_old_agent_has_its_sessions_or_exits(
        events in prop::collection::vec((any_event(), any::<bool>(), 0u64..400), 0..60)
    ) {
        let mut upgrade = new_upgrade();
        let (mut now, mut paused, mut exited) = (NOW, false, false);
        let mut take = |upgrade: &mut Upgrade, now: Duration, session: bool, event: Event| {
            if matches!(event, Event::Begun(_)) && !paused {
                // Nobody was asked to begin.
                return (paused, exited);
            }
            let trial = matches!(upgrade.phase, Phase::Trial { .. });
            for action in upgrade.step(now, session, event) {
                match action {
                    Action::Begin => { assert!(!paused); paused = true; }
                    Action::Resume => { assert!(paused); paused = false; }
                    Action::Install => assert!(trial),
                    Action::Exit => exited = true,
                    _ => {}
                }
            }
            (paused, exited)
        };
        let mut state = (false, false);
        for (event, session, seconds) in events {
            now += Duration::from_secs(seconds);
            state = take(&mut upgrade, now, session && !state.0, event);
            if state.1 {
                return Ok(());
            }
        }
        // The trial's child is started or not, and time passes.
        state = take(&mut upgrade, now, false, Event::Begun(false)).max(state);
        for _ in 0..4 {
            now += PATIENCE;
            state = take(&mut upgrade, now, false, Event::Tick);
        }
        prop_assert!(!state.0 || state.1, "paused for ever: {:?}", upgrade.phase);
    }
}
