//! A name server whose answers a test makes up: poisoned, rebound from one question to the next, or not there.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::net::UdpSocket;

use crate::serving::Task;

/// What a name has: the answers to its questions for addresses in turn, of which the last stays.
#[derive(Debug, Default)]
struct Name {
    answers: Vec<Vec<Ipv4Addr>>,
    asked: usize,
}

/// A running name server. It knows IPv4 addresses only, says that they may not be kept, and of every other name that there is none.
#[derive(Debug)]
pub struct Dns {
    names: Arc<Mutex<HashMap<String, Name>>>,
    _serving: Task,
}

impl Dns {
    /// Answers what comes in on a socket.
    #[must_use]
    pub fn serve(socket: UdpSocket) -> Self {
        let names = Arc::new(Mutex::new(HashMap::<String, Name>::new()));
        let known = Arc::clone(&names);
        let serving = Task::spawn(async move {
            let mut room = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut room).await {
                let answer = {
                    let mut names = known.lock().unwrap_or_else(PoisonError::into_inner);
                    answer(&room[..length], &mut names)
                };
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self {
            names,
            _serving: serving,
        }
    }

    /// What a name leads to from now on: the answers in turn, of which the last stays. Several addresses in one answer keep their order.
    pub fn set(&self, name: &str, answers: &[&[Ipv4Addr]]) {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), Name { answers, asked: 0 });
    }

    /// How often the addresses of a name were asked for since it was set.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).map_or(0, |name| name.asked)
    }
}

/// The answer to a question (RFC 1035, 4.1); `None` when it is none.
fn answer(question: &[u8], names: &mut HashMap<String, Name>) -> Option<Vec<u8>> {
    const A: u16 = 1;
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = question.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let asked = question.get(12..at + 4)?;
    let mut addresses = Vec::new();
    // 3: there is no such name.
    let mut code = 3;
    if let Some(name) = names.get_mut(&labels.join(".")) {
        code = 0;
        if kind == A {
            let turn = name.asked.min(name.answers.len().saturating_sub(1));
            addresses = name.answers.get(turn).cloned().unwrap_or_default();
            name.asked += 1;
        }
    }
    let count = u16::try_from(addresses.len()).ok()?;
    let mut out = question.get(..2)?.to_vec();
    // An answer, from an authority, recursion available.
    out.extend([0x85, 0x80 | code, 0, 1]);
    out.extend(count.to_be_bytes());
    out.extend([0; 4]);
    out.extend_from_slice(asked);
    for address in addresses {
        // The name as before, A, IN, kept for no time, four bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: u8) -> Vec<u8> {
        let mut out = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            out.push(u8::try_from(label.len()).unwrap());
            out.extend(label.as_bytes());
        }
        out.extend([0, 0, kind, 0, 1]);
        out
    }

    #[tokio::test]
    async fn answers_come_in_turn_and_the_last_stays() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = socket.local_addr().unwrap();
        let dns = Dns::serve(socket);
        let (good, bad) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, 0, 0, 5));
        dns.set("a.example", &[&[good], &[bad, good]]);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut room = [0; 512];
        for (name, kind, code, ends) in [
            ("a.example", 1, 0, good.octets().to_vec()),
            ("A.example", 1, 0, good.octets().to_vec()),
            ("a.example", 28, 0, vec![0, 28, 0, 1]),
            ("b.example", 1, 3, vec![0, 1, 0, 1]),
        ] {
            client.send_to(&question(name, kind), server).await.unwrap();
            let length = client.recv(&mut room).await.unwrap();
            assert_eq!((room[0], room[3] & 15), (7, code), "{name}");
            assert!(room[..length].ends_with(&ends), "{name} {kind}");
        }
        assert_eq!(dns.asked("a.example"), 2);
    }
}
