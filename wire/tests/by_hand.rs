//! A client that knows only `PROTOCOL.md` writes the same bytes, and what the document forbids is refused.
//! Guards: a rule of the layout that the document forgot or got wrong.

use proptest::prelude::*;
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{Create, Cursor, Hello, Send, kind};
use tidegate_wire::request::{Frames, Request, parse};

/// Writes a body as section "Bodies" says: out-of-line data in the order of the fields, then the root.
#[derive(Default)]
struct ByHand {
    data: Vec<u8>,
    root: Vec<u8>,
    /// Where offsets stand in the root, and the position in `data` that they mean, from the field's first byte.
    offsets: Vec<(usize, usize, usize)>,
}

impl ByHand {
    fn number(mut self, bytes: &[u8]) -> Self {
        self.root.extend_from_slice(bytes);
        self
    }

    fn list(mut self, count: usize, elements: &[u8]) -> Self {
        let field = self.root.len();
        self.offsets.push((field, field, self.data.len()));
        self.root.extend_from_slice(&[0; 4]);
        self.root.extend_from_slice(&(count as u32).to_le_bytes());
        self.data.extend_from_slice(elements);
        self
    }

    fn string(self, text: &str) -> Self {
        if text.len() > 8 { self.string_out_of_line(text) } else { self.string_inline(text) }
    }

    fn string_inline(mut self, text: &str) -> Self {
        let mut field = [0xff; 8];
        field[..text.len()].copy_from_slice(text.as_bytes());
        self.root.extend_from_slice(&field);
        self
    }

    fn string_out_of_line(mut self, text: &str) -> Self {
        let field = self.root.len();
        let length = text.len() as u32;
        let stored = (length & 0x3f) | 0x80 | ((length & !0x3f) << 2);
        self.root.extend_from_slice(&stored.to_le_bytes());
        self.offsets.push((field + 4, field, self.data.len()));
        self.root.extend_from_slice(&[0; 4]);
        self.data.extend_from_slice(text.as_bytes());
        self
    }

    fn frame(mut self, kind: u16, request: u64) -> Vec<u8> {
        for (at, field, target) in self.offsets {
            let offset = target as i32 - (self.data.len() + field) as i32;
            self.root[at..at + 4].copy_from_slice(&offset.to_le_bytes());
        }
        let length = (self.data.len() + self.root.len()) as u32;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend_from_slice(&kind.to_le_bytes());
        frame.extend_from_slice(&[1, 0]);
        frame.extend_from_slice(&request.to_le_bytes());
        frame.extend_from_slice(&self.data);
        frame.extend_from_slice(&self.root);
        frame.resize(frame.len().next_multiple_of(8), 0);
        frame
    }
}

fn send_by_hand(send: &Send, request: u64) -> Vec<u8> {
    ByHand::default()
        .number(&send.conversation.to_le_bytes())
        .number(&send.client_id.to_le_bytes())
        .number(&send.client_time.to_le_bytes())
        .number(&send.reply_to.to_le_bytes())
        .number(&[send.kind])
        .list(send.body.len(), &send.body)
        .string(&send.client_ref)
        .frame(kind::SEND, request)
}

fn hello_by_hand(hello: &Hello, request: u64) -> Vec<u8> {
    let cursors: Vec<u8> = hello
        .cursors
        .iter()
        .flat_map(|cursor| [&cursor.conversation.to_le_bytes()[..], &cursor.last_seq.to_le_bytes()].concat())
        .collect();
    ByHand::default().list(hello.cursors.len(), &cursors).string(&hello.client).frame(kind::HELLO, request)
}

fn create_by_hand(create: &Create, request: u64) -> Vec<u8> {
    let members: Vec<u8> = create.members.iter().flat_map(|member| member.to_le_bytes()).collect();
    ByHand::default()
        .list(create.members.len(), &members)
        .number(&[create.kind])
        .string(&create.name)
        .frame(kind::CREATE, request)
}

/// The code with which the only frame of a message is refused.
fn refused(message: &[u8]) -> Option<u16> {
    let (header, body) = Frames::new(message).next().expect("a frame").expect("a valid frame");
    parse(&header, body).err().map(|refusal| refusal.code)
}

#[test]
fn what_the_document_forbids_is_refused() {
    let send = |body: fn(ByHand) -> ByHand| {
        body(ByHand::default().number(&[7; 48]).number(&[1])).frame(kind::SEND, 1)
    };
    assert_eq!(refused(&send(|frame| frame.list(5, b"hello").string("reference"))), None);
    assert_eq!(refused(&send(|frame| frame.list(0, b"").string_out_of_line("reference"))), None);
    assert_eq!(refused(&send(|frame| frame.list(5, b"hello").string_out_of_line("short"))), Some(400));
    assert_eq!(refused(&send(|frame| frame.list(6, b"hello").string("reference"))), Some(400), "overlap");
    assert_eq!(
        refused(&send(|frame| frame.list(15, b"hello").string("reference"))),
        Some(400),
        "into the root"
    );
    assert_eq!(refused(&send(|frame| frame.list(5, b"hello").number(&[0xff; 7]))), Some(400), "a byte short");
    let out_of_order = |mut frame: ByHand| {
        frame = frame.list(5, b"hello").string("reference");
        // The body's bytes behind those of the reference.
        frame.offsets[0].2 = 9;
        frame.offsets[1].2 = 0;
        frame.data = b"referencehello".to_vec();
        frame
    };
    assert_eq!(refused(&send(out_of_order)), Some(400), "out of order");
}

proptest! {
    #[test]
    fn sends(
        numbers in any::<(u128, u128, u64, u64)>(),
        body in "\\PC{0,80}",
        client_ref in "[a-zA-Z0-9_-]{0,64}",
        request in any::<u64>(),
    ) {
        let (conversation, client_id, client_time, reply_to) = numbers;
        let body = body.into_bytes();
        let send = Send { conversation, client_id, client_time, reply_to, kind: 1, body, client_ref };
        let by_hand = send_by_hand(&send, request);
        let (header, body) = Frames::new(&by_hand).next().expect("a frame").expect("a valid frame");
        let Ok(Request::Send(view)) = parse(&header, body) else { panic!("not a send") };
        prop_assert_eq!((view.body, view.client_ref), (&send.body[..], &send.client_ref[..]));
        prop_assert_eq!(&by_hand, &ClientFrame::Send(send.clone()).encode(request));
    }

    #[test]
    fn hellos_and_creates(
        cursors in prop::collection::vec(any::<(u128, u64)>(), 1..9),
        members in prop::collection::vec(any::<u64>(), 1..9),
        text in ".{0,20}",
    ) {
        let cursors = cursors
            .into_iter()
            .map(|(conversation, last_seq)| Cursor { conversation, last_seq })
            .collect();
        let hello = Hello { cursors, client: text.clone() };
        prop_assert_eq!(hello_by_hand(&hello, 3), ClientFrame::Hello(hello).encode(3));
        let create = Create { members, kind: 2, name: text };
        prop_assert_eq!(create_by_hand(&create, 4), ClientFrame::Create(create).encode(4));
    }

    #[test]
    fn lists_may_be_empty(text in ".{0,20}") {
        prop_assert_eq!(refused(&hello_by_hand(&Hello { cursors: vec![], client: text.clone() }, 3)), None);
        prop_assert_eq!(refused(&create_by_hand(&Create { members: vec![], kind: 1, name: text }, 4)), None);
    }
}
