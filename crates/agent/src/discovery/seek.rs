//! Asking the local network, once: three datagrams to WS-Discovery's group, then answers until a deadline.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::message::{Camera, MAX_DATAGRAM, Probe};
use crate::moment::Moments;

/// WS-Discovery's group and port.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 3702);
/// When it is asked: datagrams are lost, and a device waits up to half a second before it answers.
const ASK_AT: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_millis(1500),
];
/// Devices that are listed.
const MAX_DEVICES: usize = 64;
/// Datagrams that are read at all: a flood ends the asking.
const MAX_DATAGRAMS: usize = 1024;

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where the answer came from: not where it says that the camera is.
    pub address: IpAddr,
    /// What it says of itself.
    pub camera: Camera,
}

/// Asks, and listens for `within`. `from` is the address of the interface to ask on; `0.0.0.0` leaves it to the system's routes. Answers are
/// in the order of their addresses, one for each.
///
/// # Errors
/// No socket can be had, or nothing can be sent on that interface.
pub fn seek(from: Ipv4Addr, within: Duration) -> io::Result<Vec<Answer>> {
    // Linux takes a bound address for the choice of the interface; std has no IP_MULTICAST_IF.
    let socket = UdpSocket::bind((from, 0))?;
    // Not beyond the local network.
    socket.set_multicast_ttl_v4(1)?;
    let probe = Probe::new(crate::system::random(), crate::system::random());
    let question = probe.datagram();
    let group = SocketAddr::from(GROUP);
    let begin = Moments::begin();
    let mut asks = ASK_AT.iter().peekable();
    let mut answers: Vec<Answer> = Vec::new();
    // One longer than any answer: what fills it was cut.
    let mut room = vec![0; MAX_DATAGRAM + 1];
    let mut read = 0;
    loop {
        let now = begin.now();
        if asks.next_if(|at| now >= **at).is_some() {
            let sent = socket.send_to(question.as_bytes(), group);
            // The first failure is told; later ones are lost datagrams like others.
            if let (Err(error), 0) = (sent, read) {
                return Err(error);
            }
            continue;
        }
        if now >= within || read >= MAX_DATAGRAMS || answers.len() >= MAX_DEVICES {
            break;
        }
        let until = asks.peek().map_or(within, |at| within.min(**at));
        let wait = until.saturating_sub(now).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        let (length, sender) = match socket.recv_from(&mut room) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => {
                read += 1;
                continue;
            }
        };
        read += 1;
        let datagram = room.get(..length).filter(|_| length <= MAX_DATAGRAM);
        let cameras = datagram.map(|datagram| probe.answer(datagram));
        if let Some(Ok(cameras)) = cameras
            && let Some(camera) = cameras.into_iter().next()
            && !answers.iter().any(|known| known.address == sender.ip())
        {
            answers.push(Answer {
                address: sender.ip(),
                camera,
            });
        }
    }
    answers.sort_by_key(|answer| answer.address);
    Ok(answers)
}
