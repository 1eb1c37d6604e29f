//! What addresses a name has: `/etc/hosts`, then the nameservers of `/etc/resolv.conf` (RFC 1035).
//!
//! The C library's resolver is four times as large as this, in a language in which a stranger's answer can do more than be wrong. Owns: asking, and
//! reading what comes back. Does not own: which addresses may be dialled (`crate::address`, S7).
//!
//! An answer counts when it comes from a nameserver that was asked, has the question's random number and repeats the question. It is read within
//! its own bytes, and no loop in it is followed for long (S32).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use crate::moment::Moments;
use crate::words::number;
use crate::{files, system};

/// How often all nameservers are asked, and how long each time waits for them: datagrams are lost.
const ROUNDS: u32 = 2;
const ROUND: Duration = Duration::from_millis(2500);
/// What `options timeout:` may ask for: a call has 20 s to its hello.
const LONGEST_ROUND: u64 = 10;
/// More are not asked: as every resolver has it.
const MAX_SERVERS: usize = 3;
/// Domains in which a name without a dot is looked for.
const MAX_DOMAINS: usize = 6;
/// Of a host with more addresses nobody tries them all.
const MAX_ADDRESSES: usize = 16;
/// Names that only say another name, one after another. Resolvers of the net allow about as many.
const MAX_ALIASES: usize = 12;
/// Bytes of a name.
const MAX_NAME: usize = 255;
/// So long a name has 127 labels at most; one that jumps more often goes round in circles.
const MAX_STEPS: usize = 128;
/// An answer over UDP has 512 bytes, as long as nobody asked for more.
const MAX_ANSWER: usize = 512;
const HEAD: usize = 12;

/// The addresses of a name, those first that there is a way to, of these IPv6's before IPv4's (RFC 6724). None when it is not known, or nobody answers.
/// A literal is its own address. Takes seconds when nobody answers.
pub(crate) fn addresses(name: &str) -> Vec<IpAddr> {
    if let Ok(literal) = name.parse() {
        return vec![literal];
    }
    let listed = in_hosts(&text("/etc/hosts"), name);
    if !listed.is_empty() {
        return in_order(&listed);
    }
    let resolver = Resolver::parse(&text("/etc/resolv.conf"));
    for name in resolver.candidates(name) {
        match ask(&resolver.servers, &name, resolver.round) {
            Some(found) if found.is_empty() => {}
            Some(found) => return in_order(&found),
            None => break,
        }
    }
    Vec::new()
}

/// The address from which another one is reached. Connecting a datagram socket sends nothing: it only asks the kernel for a way.
pub(crate) fn way_to(address: SocketAddr) -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(address.is_ipv6()), 0))?;
    socket.connect(address)?;
    Ok(socket.local_addr()?.ip())
}

fn unspecified(is_ipv6: bool) -> IpAddr {
    if is_ipv6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }
}

fn text(path: &str) -> String {
    let text = files::read(path.as_ref()).ok().flatten();
    text.unwrap_or_default()
}

fn in_order(addresses: &[IpAddr]) -> Vec<IpAddr> {
    // The port does not matter, but it may not be none.
    let place = |address: &IpAddr| match way_to(SocketAddr::new(*address, DNS)) {
        Ok(_) => u8::from(address.is_ipv4()),
        Err(_) => 2,
    };
    let places: Vec<u8> = addresses.iter().map(place).collect();
    let mut ordered = Vec::new();
    for wanted in 0..=2 {
        for (address, place) in addresses.iter().zip(&places) {
            if *place == wanted {
                ordered.push(*address);
            }
        }
    }
    ordered
}

/// The lines of `/etc/hosts` that name it: an address, then names.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        if let Some(address) = address
            && words.any(|word| word.eq_ignore_ascii_case(name))
            && found.len() < MAX_ADDRESSES
        {
            found.push(address);
        }
    }
    found
}

const DNS: u16 = 53;

/// Who is asked, and for what beside the name itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolver {
    servers: Vec<SocketAddr>,
    domains: Vec<String>,
    /// How long each round waits.
    round: Duration,
}

impl Resolver {
    /// Reads `/etc/resolv.conf`. Without a nameserver it is this machine.
    fn parse(text: &str) -> Self {
        let (mut servers, mut domains, mut round) = (Vec::new(), Vec::new(), ROUND);
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if servers.len() < MAX_SERVERS => {
                    servers.extend(words.next().and_then(server));
                }
                // The last line of both counts.
                Some("search" | "domain") => {
                    domains.clear();
                    for domain in words.take(MAX_DOMAINS) {
                        domains.push(domain.to_owned());
                    }
                }
                Some("options") => {
                    let told = words.find_map(|word| number(word.strip_prefix("timeout:")?));
                    if let Some(seconds @ 1..) = told {
                        round = Duration::from_secs(LONGEST_ROUND.min(seconds));
                    }
                }
                _ => {}
            }
        }
        if servers.is_empty() {
            servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DNS));
        }
        Resolver {
            servers,
            domains,
            round,
        }
    }

    /// The names that are asked for, one after another, until one is known.
    fn candidates(&self, name: &str) -> Vec<String> {
        let mut names = Vec::new();
        if !name.contains('.') {
            for domain in &self.domains {
                names.push(format!("{name}.{domain}"));
            }
        }
        names.push(name.to_owned());
        names
    }
}

/// `192.168.1.1`, `fd00::1`, `fe80::1%eth0`.
fn server(word: &str) -> Option<SocketAddr> {
    let Some((address, interface)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse().ok()?, DNS));
    };
    let index = system::text(&format!("/sys/class/net/{interface}/ifindex"))?;
    let scope = number(index.trim_ascii())?;
    Some(SocketAddrV6::new(address.parse().ok()?, DNS, 0, scope).into())
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    A = 1,
    Aaaa = 28,
}

const CNAME: u16 = 5;

/// Asks all nameservers at once for both kinds of address. `None` when nobody answers.
fn ask(servers: &[SocketAddr], name: &str, round: Duration) -> Option<Vec<IpAddr>> {
    // A port of the kernel's choice, which is random, too.
    let wide = servers.iter().any(SocketAddr::is_ipv6);
    let wide = wide.then(|| UdpSocket::bind(SocketAddr::new(unspecified(true), 0)).ok());
    let (socket, is_ipv6) = match wide.flatten() {
        Some(socket) => (socket, true),
        None => (
            UdpSocket::bind(SocketAddr::new(unspecified(false), 0)).ok()?,
            false,
        ),
    };
    let reached = |server: &SocketAddr| match server.ip() {
        IpAddr::V4(address) if is_ipv6 => {
            SocketAddr::new(address.to_ipv6_mapped().into(), server.port())
        }
        _ => *server,
    };
    let servers: Vec<SocketAddr> = servers.iter().map(reached).collect();
    let [a, b, c, d, ..] = system::random().to_be_bytes();
    let mut open = vec![
        Question::new(Kind::A, name, [a, b])?,
        Question::new(Kind::Aaaa, name, [c, d])?,
    ];
    let mut found: Option<Vec<IpAddr>> = None;
    let mut room = [0; MAX_ANSWER];
    for _ in 0..ROUNDS {
        for server in &servers {
            for question in &open {
                // One that cannot be reached does not hide the others.
                let _ = socket.send_to(&question.bytes, server);
            }
        }
        let begin = Moments::begin();
        loop {
            let left = round.saturating_sub(begin.now());
            if open.is_empty() || left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
                break;
            }
            let Ok((length, sender)) = socket.recv_from(&mut room) else {
                break;
            };
            let answer = room.get(..length).filter(|_| servers.contains(&sender));
            let read = answer.and_then(|answer| {
                let mut questions = open.iter().enumerate();
                questions.find_map(|(at, question)| Some((at, question.read(answer)?)))
            });
            if let Some((at, addresses)) = read {
                open.remove(at);
                found.get_or_insert_default().extend(addresses);
            }
        }
        if open.is_empty() {
            break;
        }
    }
    found
}

/// A question as it is sent: its head, then name, kind and class.
#[derive(Debug)]
struct Question {
    kind: Kind,
    bytes: Vec<u8>,
}

/// What of an answer is looked at.
struct Record<'a> {
    owner: Vec<u8>,
    kind: u16,
    /// Where its data begin in the answer: names in them point to others.
    at: usize,
    data: &'a [u8],
}

impl Question {
    /// `None` when that is no name.
    fn new(kind: Kind, name: &str, id: [u8; 2]) -> Option<Self> {
        // Recursion desired; one question.
        let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.get_mut(..2)?.copy_from_slice(&id);
        for label in name.strip_suffix('.').unwrap_or(name).split('.') {
            let length = u8::try_from(label.len()).ok();
            bytes.push(length.filter(|length| (1..=63).contains(length))?);
            bytes.extend_from_slice(label.as_bytes());
        }
        // The root, the kind, and the class of the internet.
        bytes.extend_from_slice(&[0, 0, kind as u8, 0, 1]);
        (bytes.len() <= HEAD + MAX_NAME + 4).then_some(Question { kind, bytes })
    }

    /// What it answers; `None` when it is no answer to this question, or tells that the server does not know.
    fn read(&self, answer: &[u8]) -> Option<Vec<IpAddr>> {
        let (head, rest) = answer.split_at_checked(HEAD)?;
        let (own_head, own) = self.bytes.split_at_checked(HEAD)?;
        let (asked, _) = rest.split_at_checked(own.len())?;
        // An answer to a plain query, which knows the name or that there is none: others may know more than a server that refuses or fails.
        let &[a, b, flags, result, 0, 1, high, low, ..] = head else {
            return None;
        };
        let is_ours = own_head.starts_with(&[a, b]) && asked.eq_ignore_ascii_case(own);
        if !is_ours || flags & 0xf8 != 0x80 || !matches!(result & 15, 0 | 3) {
            return None;
        }
        let records = records(answer, HEAD + own.len(), u16::from_be_bytes([high, low]));
        let (mut owner, _) = name_at(answer, HEAD)?;
        // In whatever order they stand: not every server tells the alias first.
        for _ in 0..MAX_ALIASES {
            let mut aliases = records.iter();
            let alias = aliases.find(|record| record.kind == CNAME && record.owner == owner);
            match alias.and_then(|alias| name_at(answer, alias.at)) {
                Some((name, _)) => owner = name,
                None => break,
            }
        }
        let mut addresses = Vec::new();
        for record in records {
            if record.kind == self.kind as u16
                && record.owner == owner
                && addresses.len() < MAX_ADDRESSES
            {
                addresses.extend(self.kind.address(record.data));
            }
        }
        Some(addresses)
    }
}

impl Kind {
    fn address(self, data: &[u8]) -> Option<IpAddr> {
        match self {
            Kind::A => Some(<[u8; 4]>::try_from(data).ok()?.into()),
            Kind::Aaaa => Some(<[u8; 16]>::try_from(data).ok()?.into()),
        }
    }
}

/// So many records of the internet, or as many as are whole: an answer that was too long is cut.
fn records(answer: &[u8], mut at: usize, count: u16) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    for _ in 0..count {
        let Some(record) = record(answer, at) else {
            break;
        };
        at = record.at + record.data.len();
        records.push(record);
    }
    records
}

/// Owner, kind, class, four bytes of how long it holds, length, data.
fn record(answer: &[u8], at: usize) -> Option<Record<'_>> {
    let (owner, at) = name_at(answer, at)?;
    let (head, rest) = answer.get(at..)?.split_at_checked(10)?;
    let &[kind, low_kind, 0, 1, _, _, _, _, high, low] = head else {
        return None;
    };
    Some(Record {
        owner,
        kind: u16::from_be_bytes([kind, low_kind]),
        at: at + head.len(),
        data: rest.get(..u16::from_be_bytes([high, low]).into())?,
    })
}

/// The name that stands there, each label behind its length, in lower case; and what stands behind it.
fn name_at(answer: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut behind) = (Vec::new(), None);
    for _ in 0..MAX_STEPS {
        let length = *answer.get(at)?;
        at += 1;
        match length {
            0 => {
                // Their lengths are no letters.
                name.make_ascii_lowercase();
                return Some((name, behind.unwrap_or(at)));
            }
            1..=63 if name.len() < MAX_NAME => {
                let end = at + usize::from(length);
                name.push(length);
                name.extend_from_slice(answer.get(at..end)?);
                at = end;
            }
            // The rest of it stands elsewhere.
            0xc0.. => {
                let low = *answer.get(at)?;
                behind = behind.or(Some(at + 1));
                at = u16::from_be_bytes([length & 0x3f, low]).into();
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use proptest::prelude::*;

    const NAME: &str = "cctv.example.com";
    const LONG: Duration = Duration::from_secs(60);

    fn question(kind: Kind, id: [u8; 2]) -> Question {
        Question::new(kind, NAME, id).unwrap()
    }

    fn name(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in text.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    fn record(owner: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [owner, &[0, kind, 0, 1, 0, 0, 0, 60], &length, data].concat()
    }

    /// An answer to a question as it was sent: this result and these records.
    fn answer(question: &[u8], result: u8, records: &[Vec<u8>]) -> Vec<u8> {
        let mut answer = question.to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80 | result]);
        answer[7] = u8::try_from(records.len()).unwrap();
        answer.extend(records.concat());
        answer
    }

    /// The question's own name.
    const OWN: &[u8] = &[0xc0, 12];

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn hosts_and_resolv_conf_are_read_as_everybody_reads_them() {
        let hosts = "127.0.0.1 localhost\n# 192.0.2.9 cctv.example.com\n192.0.2.1\tother CCTV.example.com # ours\n\
            2001:db8::1 cctv.example.com\nnonsense cctv.example.com\n";
        assert_eq!(
            in_hosts(hosts, NAME),
            [v4(1), "2001:db8::1".parse().unwrap()]
        );
        assert_eq!(in_hosts(hosts, "example.com"), [] as [IpAddr; 0]);

        let text = "domain old.example\nsearch home.example lan\nnameserver 192.168.1.1\noptions ndots:1\n\
            nameserver fd00::1\nnameserver x\n# nameserver 192.0.2.9\nnameserver 9.9.9.9\nnameserver 8.8.8.8\n";
        let resolver = Resolver::parse(text);
        let servers = ["192.168.1.1:53", "[fd00::1]:53", "9.9.9.9:53"];
        assert_eq!(
            resolver.servers,
            servers.map(|server| server.parse().unwrap())
        );
        assert_eq!(
            resolver.candidates("nvr"),
            ["nvr.home.example", "nvr.lan", "nvr"]
        );
        assert_eq!(resolver.candidates(NAME), [NAME]);
        let here = "127.0.0.1:53".parse().unwrap();
        let none = Resolver::parse("");
        assert_eq!((none.servers, none.round), (vec![here], ROUND));
        for (told, seconds) in [(1, 1), (15, 10)] {
            let resolver = Resolver::parse(&format!("options attempts:1 timeout:{told}\n"));
            assert_eq!(resolver.round, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_literal_is_its_own_address_and_what_is_no_name_is_not_asked_for() {
        assert_eq!(addresses("192.0.2.7"), [v4(7)]);
        for wrong in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
            assert!(Question::new(Kind::A, wrong, [0; 2]).is_none(), "{wrong}");
        }
        let rooted = Question::new(Kind::A, "cctv.example.com.", [1, 2]).unwrap();
        assert_eq!(rooted.bytes, question(Kind::A, [1, 2]).bytes);
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_a_circle_of_them_ends() {
        let asked = question(Kind::A, [1, 2]);
        let (one, two) = (name("one.example.net"), name("Two.example.NET"));
        let mut records = vec![
            record(&two, 1, &[192, 0, 2, 1]),
            record(&name("two.example.net"), 1, &[192, 0, 2, 2]),
            record(&two, 1, &[192, 0, 2]),
            record(&one, 5, &two),
            record(OWN, 5, &one),
            record(OWN, 28, &[0; 16]),
            record(&name("stranger.example.net"), 1, &[192, 0, 2, 66]),
        ];
        for _ in 0..records.len() {
            let told = asked.read(&answer(&asked.bytes, 0, &records)).unwrap();
            assert_eq!(told.len(), 2);
            assert!(told.contains(&v4(1)) && told.contains(&v4(2)));
            records.rotate_left(1);
        }
        let circle = [record(OWN, 5, &one), record(&one, 5, OWN)];
        assert_eq!(
            asked.read(&answer(&asked.bytes, 0, &circle)),
            Some(Vec::new())
        );
        // A name that points to itself.
        let at = u8::try_from(asked.bytes.len()).unwrap();
        let itself = [record(&[0xc0, at], 1, &[192, 0, 2, 1])];
        assert_eq!(
            asked.read(&answer(&asked.bytes, 0, &itself)),
            Some(Vec::new())
        );
    }

    #[test]
    fn only_an_answer_to_this_very_question_counts() {
        let asked = question(Kind::A, [1, 2]);
        let records = [record(OWN, 1, &[192, 0, 2, 1])];
        let good = answer(&asked.bytes, 0, &records);
        assert_eq!(asked.read(&good), Some(vec![v4(1)]));
        let mut shouted = good.clone();
        shouted[HEAD + 1..HEAD + 5].copy_from_slice(b"CCTV");
        assert_eq!(asked.read(&shouted), Some(vec![v4(1)]));
        for (at, byte) in [
            (0, 9),
            (1, 9),
            (2, 1),
            (5, 2),
            (HEAD + 1, b'x'),
            (good.len() - 16 - 3, 28),
        ] {
            let mut other = good.clone();
            other[at] = byte;
            assert_eq!(asked.read(&other), None, "byte {at}");
        }
        // It refuses, it fails: perhaps another one knows.
        for result in [1, 2, 5] {
            assert_eq!(asked.read(&answer(&asked.bytes, result, &[])), None);
        }
        assert_eq!(
            asked.read(&answer(&asked.bytes, 3, &[])),
            Some(Vec::new()),
            "there is no such name"
        );
        assert_eq!(asked.read(&good[..good.len() - 1]), Some(Vec::new()), "cut");
    }

    /// A nameserver that says what `says` makes of each question.
    fn nameserver(says: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut room = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut room) {
                for answer in says(&room[..length]) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        address
    }

    #[test]
    fn the_first_nameserver_that_knows_answers_for_all() {
        let failing = nameserver(|asked| vec![answer(asked, 2, &[])]);
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let knowing = nameserver(|asked| {
            let records = match asked[asked.len() - 3] {
                1 => vec![record(OWN, 1, &[192, 0, 2, 1])],
                _ => vec![record(OWN, 28, &[0x20; 16])],
            };
            let mut forged = answer(asked, 0, &[record(OWN, 1, &[192, 0, 2, 66])]);
            forged[0] ^= 1;
            vec![forged, b"noise".to_vec(), answer(asked, 0, &records)]
        });
        let servers = [failing, silent.local_addr().unwrap(), knowing];
        let mut found = ask(&servers, NAME, LONG).unwrap();
        found.sort();
        assert_eq!(found, [v4(1), IpAddr::from([0x20; 16])]);
    }

    #[test]
    fn a_question_that_is_lost_is_asked_again_and_silence_ends() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = [silent.local_addr().unwrap()];
        assert_eq!(ask(&servers, NAME, Duration::from_millis(1)), None);
        silent.set_nonblocking(true).unwrap();
        let (mut heard, mut room) = (Vec::new(), [0; 512]);
        while let Ok(length) = silent.recv(&mut room) {
            heard.push(room[..length].to_vec());
        }
        assert_eq!(heard.len(), 4);
        assert_eq!(heard[..2], heard[2..], "both kinds, twice");
    }

    proptest! {
        #[test]
        fn no_answer_of_a_stranger_panics_or_gives_more_than_it_holds(
            bytes in prop::collection::vec(any::<u8>(), 0..512),
            own in any::<bool>(),
        ) {
            let asked = question(Kind::A, [1, 2]);
            let all = if own { [&answer(&asked.bytes, 0, &[])[..], &bytes].concat() } else { bytes };
            let mut all = all;
            if own {
                all[6..8].copy_from_slice(&[0xff, 0xff]);
            }
            if let Some(told) = asked.read(&all) {
                prop_assert!(told.len() * 4 <= all.len());
            }
        }

        #[test]
        fn whatever_is_broken_in_an_answer_no_address_is_made_up(
            at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let asked = question(Kind::A, [1, 2]);
            let one = name("one.example.net");
            let records = [record(OWN, 5, &one), record(&one, 1, &[192, 0, 2, 1])];
            let mut broken = answer(&asked.bytes, 0, &records);
            let data = broken.len() - 4;
            let at = at.index(data);
            broken[at] = byte;
            if let Some(told) = asked.read(&broken) {
                prop_assert!(told.is_empty() || told == [v4(1)], "{:?}", told);
            }
        }
    }
}
