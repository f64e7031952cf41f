//! Byte-literal tests of every message type, and of how what is malformed is treated. [`properties`] has what holds for any input.

mod properties;

use super::*;

/// An envelope prints as this literal, which parses to the same envelope.
#[track_caller]
fn round_trip(literal: &str) {
    let envelopes = parse_pipeline(literal).expect("the literal is a pipeline");
    assert_eq!(print_pipeline(&envelopes), literal);
}

#[test]
fn every_message_type_in_both_directions() {
    for literal in [
        r#"[{"t":"HELLO","tid":"h","auth":"A:b","clv":"Lib,v1;Os","an":"App","av":"1.2","sid":"S1","rd":3}]"#,
        r#"[{"t":"WELCOME","tid":"h","sid":"S1","desc":"new session"}]"#,
        r#"[{"t":"SEND","cmid":"1","tid":"t","eid":"E","msg":{"a":1}}]"#,
        r#"[{"t":"SEND","smid":"s1","tid":"t","eid":"E","msg":"x"}]"#,
        r#"[{"t":"REQUEST","cmid":"2","tid":"t","rd":1,"eid":"E","to":45000,"msg":[1,2]}]"#,
        r#"[{"t":"REQUEST","smid":"s2","tid":"t","eid":"E","msg":null}]"#,
        r#"[{"t":"RESOLVE","smid":"s2","cmid":"2","tid":"t","msg":true}]"#,
        r#"[{"t":"REJECT","cmid":"2","tid":"t","desc":"no","msg":1.50}]"#,
        r#"[{"t":"ACK","cmid":"1"},{"t":"ACK","ids":["1","2"]},{"t":"ACK","smid":"s1"}]"#,
        r#"[{"t":"NACK","cmid":"1","desc":"why"}]"#,
        r#"[{"t":"ACK2","smid":"s1"},{"t":"ACK2","ids":["1","2"]}]"#,
        r#"[{"t":"RETRY","cmid":"1","desc":"later"}]"#,
        r#"[{"t":"SUB","smid":"s9","eid":"Topic"},{"t":"UNSUB","eid":"Topic"}]"#,
        r#"[{"t":"SUB_OK","eid":"Topic"},{"t":"SUB_LOST","eid":"Topic"},{"t":"SUB_NO_AUTH","eid":"Topic"}]"#,
        r#"[{"t":"PUB","smid":"s9","tid":"t","eid":"Topic","msg":{},"debug":{"resd":3,"smcts":1,"mscts":2,"mscnn":"n"}}]"#,
        r#"[{"t":"REAUTH"},{"t":"AUTH","auth":"A:c"}]"#,
        r#"[{"t":"PING","x":"a"},{"t":"PONG","x":17}]"#,
        "[]",
    ] {
        round_trip(literal);
    }
}

#[test]
fn numbers_are_taken_as_ids() {
    let parsed =
        parse_pipeline(r#" [ {"cmid": 7, "t": "SEND"} , {"t":"ACK2","ids":[1,"2"]} ] "#).unwrap();
    assert_eq!(
        print_pipeline(&parsed),
        r#"[{"t":"SEND","cmid":"7"},{"t":"ACK2","ids":["1","2"]}]"#
    );
}

/// JavaScript numbers have many spellings, which occur in practice when ids are computed.
#[test]
fn an_integral_number_is_an_id_however_it_is_spelled() {
    let cmid = |json: &str| {
        let parsed = parse_pipeline(&format!(r#"[{{"t":"SEND","cmid":{json}}}]"#));
        parsed
            .ok()
            .map(|envelopes| envelopes[0].cmid.clone().expect("it was given"))
    };
    for (spelled, id) in [
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("20.0", "20"),
        ("1.50e1", "15"),
        ("100e-2", "1"),
        ("-2.0", "-2"),
        ("0.0", "0"),
        ("0e9", "0"),
        ("1e21", "1000000000000000000000"),
        ("9007199254740993.0", "9007199254740993"),
    ] {
        assert_eq!(cmid(spelled).as_deref(), Some(id), "{spelled}");
    }
    for none in ["1.5", "1e-1", "1e400", "1e99999999999", "true", "[1]", "{}"] {
        assert_eq!(cmid(none), None, "{none}");
    }
}

/// Half an emoji anywhere used to make the whole pipeline unreadable, which closed the session.
#[test]
fn a_field_that_cannot_be_read_harms_only_its_own_envelope() {
    for (field, fault) in [
        (
            r#""tid":"order \ud83d""#,
            Some("`tid` has half a surrogate pair"),
        ),
        (r#""tid":5"#, Some("`tid` is not a string")),
        (r#""eid":"\udc00""#, Some("`eid` has half a surrogate pair")),
        (
            r#""smid":{}"#,
            Some("`smid` is neither a string nor an integral number"),
        ),
        (r#""ids":"x""#, None),
        (
            r#""ids":["a","\ud83d"]"#,
            Some("`ids` has something other than ids"),
        ),
        (r#""rd":-1"#, None),
        (r#""rd":"3""#, None),
        (r#""to":"5000""#, None),
        (r#""to":[]"#, None),
        (r#""x":12.5"#, None),
        (r#""desc":7"#, None),
        (r#""debug":7"#, None),
        (r#""\ud83d":1"#, None),
        (r#""other":"\ud83d""#, None),
    ] {
        let text = format!(r#"[{{"t":"SEND","cmid":"1",{field}}},{{"t":"PING","x":1}}]"#);
        let parsed = parse_pipeline(&text).expect(field);
        assert_eq!(parsed[0].cmid.as_deref(), Some("1"), "{field}");
        assert_eq!(parsed[0].fault.as_deref(), fault, "{field}");
        assert_eq!(print_pipeline(&parsed[1..]), r#"[{"t":"PING","x":1}]"#);
    }
}

#[test]
fn the_texts_of_a_hello_are_repaired() {
    let parsed = parse_pipeline(
        r#"[{"clv":"a\ud83d","an":"\udc00\ud83d\ude00","av":"1\ud800x","tid":"\ud83d","t":"HELLO"}]"#,
    );
    let hello = &parsed.unwrap()[0];
    let texts = [&hello.clv, &hello.an, &hello.av, &hello.tid];
    assert_eq!(
        texts.map(|it| it.as_deref().unwrap_or_default()),
        ["a\u{fffd}", "\u{fffd}😀", "1\u{fffd}x", "\u{fffd}"]
    );
    assert_eq!(hello.fault, None);
}

#[test]
fn what_a_ping_carries_is_echoed_as_it_came() {
    for x in [
        "12.5",
        "-0.0",
        "1e3",
        "true",
        r#"{"a":[1]}"#,
        r#""\ud83d""#,
        "123456789012345678901",
    ] {
        let parsed = parse_pipeline(&format!(r#"[{{"t":"PING","x":{x}}}]"#)).unwrap();
        assert_eq!(
            print_pipeline(&parsed),
            format!(r#"[{{"t":"PING","x":{x}}}]"#)
        );
    }
    let long = format!("[{}]", "1,".repeat(200) + "1");
    let parsed = parse_pipeline(&format!(r#"[{{"t":"PING","x":{long}}}]"#)).unwrap();
    assert_eq!(print_pipeline(&parsed), r#"[{"t":"PING"}]"#);
}

#[test]
fn unknown_and_null_fields_count_as_absent() {
    let parsed = parse_pipeline(
        r#"[{"t":"PING","ts":1.5,"cid":{"a":[{}]},"smid":null,"ids":null,"x":null,"debug":null,"to":null,"rd":null}]"#,
    );
    assert_eq!(print_pipeline(&parsed.unwrap()), r#"[{"t":"PING"}]"#);
}

#[test]
fn timeouts_are_cut_and_never_negative() {
    let to =
        |json: &str| parse_pipeline(&format!(r#"[{{"t":"REQUEST","to":{json}}}]"#)).unwrap()[0].to;
    assert_eq!(
        (to("300.7"), to("-1"), to("-0.5"), to("1e3"), to("12")),
        (Some(300), None, None, Some(1000), Some(12))
    );
    assert_eq!(
        (to(r#""5000""#), to(r#""soon""#), to("true")),
        (Some(5000), None, None)
    );
}

#[test]
fn payloads_are_kept_byte_for_byte() {
    let payload = "{ \"b\" : 1.0e+2,\n \"a\":\"\\u00e6\\/\\ud800\" }";
    let parsed = parse_pipeline(&format!(r#"[{{"t":"SEND","msg": {payload} }}]"#)).unwrap();
    assert_eq!(parsed[0].msg.as_ref().unwrap().get(), payload);
}

#[test]
fn strings_are_escaped_and_unescaped() {
    let literal = r#"[{"t":"SEND","cmid":"\"\\\n\u0001æ🐟"}]"#;
    assert_eq!(
        parse_pipeline(literal).unwrap()[0].cmid.as_deref(),
        Some("\"\\\n\u{1}æ🐟")
    );
    round_trip(literal);
}

#[test]
fn depth_costs_no_stack() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    for field in ["msg", "other", "debug", "tid", "ids", "x", "rd"] {
        let result = parse_pipeline(&format!(r#"[{{"t":"SEND","{field}":{deep}}}]"#));
        let fault = result.expect("only its own field is at fault")[0]
            .fault
            .clone();
        assert_eq!(fault.is_some(), matches!(field, "tid" | "ids"), "{field}");
    }
    assert!(parse_pipeline(&deep).is_err());
}

#[test]
fn envelopes_are_read_one_by_one_with_their_places() {
    let texts = [
        r#"{"t":"SEND","msg":{"a":"}{]["}}"#,
        r#"{ "unknown" : [1, {}] , "t":"PING" }"#,
        r#"{"msg":"ä\"{","t":"REQUEST","cmid":7}"#,
        r#"{"t":"SUB","eid":"T","other":null}"#,
    ];
    let text = format!(" [ {} ]\n", texts.join(" ,\n\t"));
    let mut places = Vec::new();
    let read = read_pipeline(&text, |envelope, extent| {
        assert_eq!(&text[extent.clone()], texts[places.len()]);
        assert!(
            envelope.msg.is_none() || places.is_empty(),
            "it is not wanted"
        );
        places.push(extent.start);
        Ok::<_, ()>(false)
    });
    assert!(read.is_ok());
    let (mut at, mut seen) = (Some(places[0]), Vec::new());
    while let Some(start) = at {
        seen.push(start);
        let (envelope, next) = read_envelope(&text, start).expect("it was read before");
        let alone = parse_pipeline(&format!("[{}]", texts[seen.len() - 1])).expect("it is one");
        assert_eq!(format!("{envelope:?}"), format!("{:?}", alone[0]));
        at = next;
    }
    assert_eq!(seen, places);
    // The caller may stop early.
    let stopped = read_pipeline(&text, |_, extent| match extent.start > places[0] {
        true => Err("enough"),
        false => Ok(true),
    });
    assert!(
        matches!(stopped, Err(Unread::Stopped("enough"))),
        "{stopped:?}"
    );
}

#[test]
fn errors_name_field_and_position() {
    for (text, error) in [
        ("", "a pipeline is a JSON array"),
        (r#"{"t":"PING"}"#, "a pipeline is a JSON array"),
        (
            r#"["A:secret"]"#,
            "envelope 1: a string instead of an object at line 1 column 11",
        ),
        (
            "[3]",
            "invalid type: integer `3`, expected an object as envelope 1 at line 1 column 2",
        ),
        ("[{}]", "envelope 1: `t` is missing at line 1 column 3"),
        (
            r#"[{"t":"PING"},{"t":"NOPE"}]"#,
            "envelope 2: unknown `t` \"NOPE\" at line 1 column 26",
        ),
        (
            "[{\"t\":\"\\u001b[2J\"}]",
            "envelope 1: unknown `t` \"\\u{1b}[2J\" at line 1 column 18",
        ),
        (
            r#"[{"t":"PING","cmid":1.5}]"#,
            "envelope 1: `cmid` is neither a string nor an integral number at line 1 column 24",
        ),
        (
            r#"[{"t":"PING","cmid":"\ud83d"}]"#,
            "envelope 1: `cmid` is neither a string nor an integral number at line 1 column 29",
        ),
        (
            r#"[{"t":"PING"}"#,
            "EOF while parsing a list at line 1 column 13",
        ),
        (
            r#"[{"t":"PING"}] x"#,
            "trailing characters at line 1 column 16",
        ),
    ] {
        assert_eq!(
            parse_pipeline(text).unwrap_err().to_string(),
            error,
            "{text}"
        );
    }
}

#[test]
fn errors_never_quote_an_authorization() {
    for text in [
        r#"[{"t":"AUTH","auth":{"k":"s3cret"}}]"#,
        r#"[{"t":"AUTH","auth":["s3cret"]}]"#,
        r#"[{"t":"AUTH","auth":"s3cret\ud800"}]"#,
        r#"[{"t":"AUTH","auth":"s3cret"#,
        r#"[{"t":"AUTH","auth":"s3cret"}{]"#,
        r#""s3cret""#,
        r#"["s3cret"]"#,
    ] {
        let error = match parse_pipeline(text) {
            Ok(envelopes) => envelopes[0].fault.clone().expect("it is at fault").into(),
            Err(error) => error.to_string(),
        };
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn items_are_bounded() {
    let pings = |n: usize| format!("[{}]", vec![r#"{"t":"PING"}"#; n].join(","));
    assert_eq!(
        parse_pipeline(&pings(MAX_PIPELINE_ITEMS)).unwrap().len(),
        MAX_PIPELINE_ITEMS
    );
    assert!(
        parse_pipeline(&pings(MAX_PIPELINE_ITEMS + 1))
            .unwrap_err()
            .to_string()
            .contains("too many")
    );
    let ids = |n: usize| format!(r#"[{{"t":"ACK2","ids":[{}]}}]"#, vec!["1"; n].join(","));
    assert!(parse_pipeline(&ids(MAX_PIPELINE_ITEMS - 1)).is_ok());
    assert!(parse_pipeline(&ids(MAX_PIPELINE_ITEMS)).is_err());
}

#[test]
fn close_reasons_are_cut_on_a_character_boundary() {
    assert_eq!(
        Close::new(CloseCode::ProtocolError, "æ".repeat(100)).reason(),
        "æ".repeat(61)
    );
    assert_eq!(
        Close::new(CloseCode::ProtocolError, "short").reason(),
        "short"
    );
}

#[test]
fn names_and_types_belong_together() {
    for (number, t) in MessageType::ALL.into_iter().enumerate() {
        assert_eq!(t as usize, number, "{t} is in its place");
        assert_eq!(MessageType::from_name(t.name()), Some(t));
    }
    assert_eq!(MessageType::from_name("hello"), None);
}
