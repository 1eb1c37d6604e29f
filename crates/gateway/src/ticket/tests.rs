//! What a ticket opens, and what opens nothing.

use aws_lc_rs::signature::Ed25519KeyPair;
use moorline_base::SharedClock;
use proptest::prelude::*;

use super::keys::{Signing, sign};
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn key() -> Signing {
    Signing::new(Ed25519KeyPair::generate().unwrap()).unwrap()
}

fn ticket() -> Ticket {
    Ticket {
        id: [7; 16],
        expires: NOW + LIFETIME,
        generation: Generation(3),
        camera: "acme/yard".parse().unwrap(),
        source: SourceName::Sub,
        role: ReaderRole::Viewer {
            login: "ann".to_owned(),
        },
        pod: PodUid("uid-1".to_owned()),
    }
}

fn check(keys: &[&Signing]) -> TicketCheck {
    let check = TicketCheck::new("acme/yard".parse().unwrap(), PodUid("uid-1".to_owned()));
    check.set_keys(keys.iter().map(|key| key.public).collect());
    check
}

fn signed(key: &Signing, ticket: &Ticket) -> String {
    sign(key, &ticket.body(), CONTEXT)
}

#[test]
fn a_ticket_opens_once() {
    let key = key();
    let check = check(&[&key]);
    let text = signed(&key, &ticket());
    assert_eq!(check.take(&text, NOW), Ok(ticket()));
    assert_eq!(check.take(&text, NOW), Err(TicketError::Used));
    let last = NOW + LIFETIME + LEEWAY;
    assert_eq!(
        check.take(&text, last),
        Err(TicketError::Expired),
        "remembered for as long as it counts"
    );
    let second = Ticket {
        id: [8; 16],
        ..ticket()
    };
    assert_eq!(check.take(&signed(&key, &second), NOW), Ok(second));
}

#[test]
fn another_camera_pod_time_key_or_purpose_opens_nothing() {
    let (key, other) = (key(), key());
    let check = check(&[&key]);
    let take = |ticket: Ticket| check.take(&signed(&key, &ticket), NOW);
    let camera = "acme/gate".parse().unwrap();
    assert_eq!(
        take(Ticket { camera, ..ticket() }),
        Err(TicketError::Camera)
    );
    let pod = PodUid("uid-2".to_owned());
    assert_eq!(take(Ticket { pod, ..ticket() }), Err(TicketError::Pod));
    assert_eq!(
        take(Ticket {
            expires: NOW - LEEWAY,
            ..ticket()
        }),
        Err(TicketError::Expired)
    );
    let expires = NOW + LIFETIME + LIFETIME;
    assert_eq!(
        take(Ticket {
            expires,
            ..ticket()
        }),
        Err(TicketError::TooLong)
    );
    assert_eq!(
        check.take(&signed(&other, &ticket()), NOW),
        Err(TicketError::UnknownKey)
    );
    let forged = signed(&other, &ticket()).replace(&other.public.id(), &key.public.id());
    assert_eq!(check.take(&forged, NOW), Err(TicketError::Signature));
    let purpose = sign(&key, &ticket().body(), b"moorline day head v1\0");
    assert_eq!(check.take(&purpose, NOW), Err(TicketError::Signature));
    let none = TicketCheck::new(ticket().camera, ticket().pod);
    assert_eq!(
        none.take(&signed(&key, &ticket()), NOW),
        Err(TicketError::UnknownKey)
    );
    assert_eq!(
        check.take(&signed(&key, &ticket()), NOW),
        Ok(ticket()),
        "the ticket itself is good"
    );
}

#[test]
fn two_keys_are_valid_while_they_are_exchanged() {
    let (old, new) = (key(), key());
    let check = check(&[&old, &new]);
    assert!(check.take(&signed(&old, &ticket()), NOW).is_ok());
    assert!(
        check
            .take(
                &signed(
                    &new,
                    &Ticket {
                        id: [8; 16],
                        ..ticket()
                    }
                ),
                NOW
            )
            .is_ok()
    );
    check.set_keys(vec![new.public]);
    let late = signed(
        &old,
        &Ticket {
            id: [9; 16],
            ..ticket()
        },
    );
    assert_eq!(check.take(&late, NOW), Err(TicketError::UnknownKey));
}

/// S24: what `moorline keys rotate` counts on between its steps.
#[test]
fn of_two_private_keys_in_the_file_the_first_one_signs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    let ((old, old_public), (new, new_public)) = (generate_key().unwrap(), generate_key().unwrap());
    assert_eq!(public_of(&old), Ok(old_public));
    assert_eq!(public_of("no key"), Err(TicketError::Malformed));
    let clock = moorline_base::SimulatedClock::new(0);
    let shared: SharedClock = std::sync::Arc::new(clock.clone());
    std::fs::write(&file, format!("{old}{new}")).unwrap();
    let signer = TicketSigner::load(file.clone(), shared).unwrap();
    let check = check(&[]);
    let takes = |public: TicketPublic, id: u8| {
        check.set_keys(vec![public]);
        let ticket = Ticket {
            id: [id; 16],
            ..ticket()
        };
        check.take(&signer.sign(&ticket).unwrap(), NOW).is_ok()
    };
    assert!(takes(old_public, 1) && !takes(new_public, 2));
    std::fs::write(&file, new).unwrap();
    clock.advance(Duration::from_secs(1));
    assert!(!takes(old_public, 3) && takes(new_public, 4));
}

#[test]
fn keys_are_read_from_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let (pem, public) = generate_key().unwrap();
    let (private_file, public_file) = (directory.path().join("key"), directory.path().join("pub"));
    std::fs::write(&private_file, &pem).unwrap();
    std::fs::write(&public_file, format!("{public}\n")).unwrap();
    let clock = moorline_base::SystemClock::shared();
    let signer = TicketSigner::load(private_file.clone(), clock.clone()).unwrap();
    let publics = TicketPublics::load(public_file.clone(), clock.clone()).unwrap();
    assert_eq!(publics.get(), [public]);
    let check = check(&[]);
    check.set_keys(publics.get());
    assert_eq!(
        check.take(&signer.sign(&ticket()).unwrap(), NOW),
        Ok(ticket())
    );
    let login = "x".repeat(LONGEST + 1);
    let long = Ticket {
        role: ReaderRole::Viewer { login },
        ..ticket()
    };
    assert_eq!(signer.sign(&long), Err(TicketError::Malformed));
    assert!(TicketSigner::load(public_file, clock.clone()).is_err());
    assert!(TicketPublics::load(private_file, clock).is_err());
}

proptest! {
    #[test]
    fn a_ticket_has_one_text(
        id: [u8; 16], expires in 0_i64..4_102_444_800_000, generation: u64, main: bool, viewer: bool,
        login in "[a-z0-9é]{0,60}", pod in "[a-f0-9-]{0,36}",
    ) {
        let role = if viewer { ReaderRole::Viewer { login } } else { ReaderRole::Archiver };
        let source = if main { SourceName::Main } else { SourceName::Sub };
        let ticket = Ticket {
            id, expires: Timestamp::from_millis(expires), generation: Generation(generation), source, role,
            camera: "acme/yard".parse().unwrap(), pod: PodUid(pod),
        };
        let body = ticket.body();
        prop_assert_eq!(Ticket::read(&body), Some(ticket));
        prop_assert_eq!(Ticket::read(&[body.as_slice(), b"x"].concat()), None);
        prop_assert_eq!(Ticket::read(&body[..body.len() - 1]), None);
    }

    #[test]
    fn what_reads_is_what_would_be_written(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        if let Some(ticket) = Ticket::read(&bytes) {
            prop_assert_eq!(ticket.body(), bytes);
        }
    }

    #[test]
    fn strangers_tickets_never_panic(text in "(v1\\.)?[0-9a-f]{0,8}\\.?[A-Za-z0-9_-]{0,200}") {
        prop_assert!(check(&[]).take(&text, NOW).is_err());
    }
}
