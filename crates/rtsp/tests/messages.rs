//! Messages: what is printed is read back, however it is split; limits; tolerance.
#![allow(missing_docs)]

use bytes::BytesMut;
use moorline_rtsp::message::{
    Headers, MAX_HEAD, Message, MessageError, MessageParser, Method, Request, Response,
};
use proptest::prelude::*;

fn parse_split(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Message>, MessageError> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let (mut buf, mut parser, mut all) = (BytesMut::new(), MessageParser::new(), Vec::new());
    for pair in places.windows(2) {
        buf.extend_from_slice(&bytes[pair[0]..pair[1]]);
        while let Some(message) = parser.parse(&mut buf)? {
            all.push(message);
        }
    }
    Ok(all)
}

fn parse(bytes: &[u8]) -> Result<Vec<Message>, MessageError> {
    parse_split(bytes, &[])
}

fn headers() -> impl Strategy<Value = Headers> {
    prop::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,12}", "[ -~é]{0,30}"), 0..8).prop_map(|list| {
        let mut headers = Headers::default();
        for (name, value) in list
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"))
        {
            headers.push(name, value);
        }
        headers
    })
}

fn message() -> impl Strategy<Value = Message> {
    let body = || prop::collection::vec(any::<u8>(), 0..200);
    let request = ("[A-Z_]{1,12}", "[!-~]{1,40}", headers(), body()).prop_map(
        |(method, uri, headers, body)| {
            let mut request = Request::new(Method::from(method.as_str()), uri);
            request.headers = headers;
            request.body = body.into();
            Message::Request(request)
        },
    );
    let response = (
        100u16..1000,
        "[A-Za-z]{0,8}( [A-Za-z]{1,8})?",
        headers(),
        body(),
    )
        .prop_map(|(status, reason, headers, body)| {
            let reason = reason.trim().to_owned();
            Message::Response(Response {
                status,
                reason,
                headers,
                body: body.into(),
            })
        });
    prop_oneof![request, response]
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back_however_it_is_split(
        messages in prop::collection::vec(message(), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut bytes = BytesMut::new();
        for message in &messages {
            message.encode(&mut bytes);
        }
        prop_assert_eq!(&parse(&bytes).unwrap(), &messages);
        prop_assert_eq!(&parse_split(&bytes, &cuts).unwrap(), &messages);
    }

    #[test]
    fn any_bytes_give_the_same_result_however_they_are_split(
        lines in prop::collection::vec(prop_oneof![
            "[ -~]{0,20}", Just("OPTIONS * RTSP/1.0".to_owned()), Just("RTSP/1.0 200 OK".to_owned()),
            Just("Content-Length: 3".to_owned()), Just("A: b".to_owned()), Just(String::new()), "\\PC{0,5}",
        ], 0..12),
        junk in prop::collection::vec(any::<u8>(), 0..8),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut bytes = lines.join("\r\n").into_bytes();
        bytes.extend(junk);
        prop_assert_eq!(parse(&bytes), parse_split(&bytes, &cuts));
    }

    #[test]
    fn nothing_breaks_out_of_its_line(name in "\\PC{0,10}", value in any::<String>(), uri in any::<String>()) {
        let mut request = Request::new(Method::Options, format!("x{uri}"));
        request.headers.push(&name, &value);
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes);
        let lines = bytes.iter().filter(|b| **b == b'\n').count();
        prop_assert!(lines <= 3);
    }
}

#[test]
fn limits() {
    let head = |headers: usize| {
        let mut text = String::from("OPTIONS * RTSP/1.0\r\n");
        for n in 0..headers {
            text += &format!("H{n}: x\r\n");
        }
        text + "\r\n"
    };
    assert!(parse(head(64).as_bytes()).is_ok());
    assert_eq!(
        parse(head(65).as_bytes()),
        Err(MessageError::TooManyHeaders)
    );
    assert_eq!(parse(&vec![b'A'; MAX_HEAD]), Err(MessageError::HeadTooLong));
    let long = format!("OPTIONS * RTSP/1.0\r\nA: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    assert_eq!(parse(long.as_bytes()), Err(MessageError::HeadTooLong));
    let body = "OPTIONS * RTSP/1.0\r\nContent-Length: 16385\r\n\r\n";
    assert_eq!(
        parse(body.as_bytes()),
        Err(MessageError::BodyTooLong(16385))
    );
}

#[test]
fn tolerance() {
    let text = "\r\n\r\nOPTIONS  rtsp://h/a b  RTSP/1.0 \ncseq:0 \nX-Folded: one\n two\nContent-Length : 2\n\nok";
    let list = parse(text.as_bytes()).unwrap();
    let Message::Request(request) = &list[0] else {
        panic!()
    };
    assert_eq!(
        (request.uri.as_str(), list[0].cseq()),
        ("rtsp://h/a b", Some(0))
    );
    assert_eq!(request.headers.get("x-folded"), Some("one two"));
    assert_eq!(&request.body[..], b"ok");
    let list = parse(b"RTSP/1.0 200\r\n\r\n").unwrap();
    assert!(
        matches!(&list[0], Message::Response(response) if response.status == 200 && response.reason.is_empty())
    );
}

#[test]
fn a_head_that_swallowed_media_is_no_head() {
    assert_eq!(
        parse(b"RTSP/1.0 200 OK\r\nCSe$\x00\x05\x78"),
        Err(MessageError::Header)
    );
    assert_eq!(
        parse(b"OPTIONS * RTSP/2.0\r\n\r\n"),
        Err(MessageError::Version)
    );
    assert_eq!(
        parse(b"OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n"),
        Err(MessageError::Header)
    );
}

#[test]
fn another_protocol_is_known_by_its_first_line() {
    assert_eq!(
        parse(b"SSH-2.0-dropbear_2022.83\r\n"),
        Err(MessageError::StartLine)
    );
    assert_eq!(parse(b"SSH-2.0-dropbear"), Ok(Vec::new()));
}
