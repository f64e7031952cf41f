//! Properties of parsing and printing, with any envelopes and any damage.

use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::*;

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(any::<String>())
}

fn payload() -> impl Strategy<Value = Option<Payload>> {
    let raw = prop_oneof![
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<Vec<bool>>()
            .prop_map(|v| format!("{{ \"k\" :{}}}", serde_json::to_string(&v).unwrap())),
        Just("null".to_owned()),
    ];
    proptest::option::of(raw.prop_map(|json| RawValue::from_string(json).unwrap()))
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let x = prop_oneof![
        any::<String>().prop_map(PingId::Text),
        any::<i64>().prop_map(PingId::Number)
    ];
    let ids = (
        text(),
        text(),
        proptest::option::of(x),
        proptest::option::of(any::<Vec<String>>()),
        text(),
    );
    let hello = (
        text(),
        text(),
        text(),
        text(),
        text(),
        any::<Option<bool>>(),
    );
    let rest = (
        any::<Option<u32>>(),
        text(),
        any::<Option<u64>>(),
        text(),
        payload(),
    );
    (
        proptest::sample::select(&MessageType::ALL[..]),
        ids,
        hello,
        rest,
    )
        .prop_map(|(t, ids, hello, rest)| {
            let (
                (smid, cmid, x, ids, tid),
                (auth, clv, an, av, sid, keep),
                (rd, eid, to, desc, msg),
            ) = (ids, hello, rest);
            let debug = rd.map(|resd| Debug {
                resd,
                mscts: Some(5),
                mscnn: eid.clone(),
                ..Debug::default()
            });
            Envelope {
                t,
                smid,
                cmid,
                x,
                ids,
                tid,
                auth,
                clv,
                an,
                av,
                sid,
                keep,
                rd,
                eid,
                to,
                desc,
                msg,
                debug,
                fault: None,
            }
        })
}

proptest! {
    #[test]
    fn what_is_printed_is_parsed(envelopes in proptest::collection::vec(envelope(), 0..4)) {
        let printed = print_pipeline(&envelopes);
        let parsed = parse_pipeline(&printed).unwrap();
        prop_assert_eq!(format!("{:?}", &parsed), format!("{:?}", &envelopes));
        prop_assert_eq!(print_pipeline(&parsed), printed);
    }

    #[test]
    fn any_text_is_survived(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let _ = parse_pipeline(&text);
        let _ = parse_pipeline(&String::from_utf8_lossy(&bytes));
    }

    /// Broken pipelines, closer to real ones than random text.
    #[test]
    fn damaged_pipelines_are_survived(envelope in envelope(), at in any::<proptest::sample::Index>(), with in "[\\[\\]{}\",:0-9a-z\\\\ -]{0,3}") {
        let printed = print_pipeline([&envelope]);
        let mut cut = at.index(printed.len() + 1);
        while !printed.is_char_boundary(cut) {
            cut -= 1;
        }
        let _ = parse_pipeline(&printed[..cut]);
        let _ = parse_pipeline(&format!("{}{with}{}", &printed[..cut], &printed[cut..]));
    }
}
