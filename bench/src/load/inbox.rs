//! What a worker does with the frames it gets: first while sessions and conversations are set up, then under load.

use tidegate_wire::frames::kind;
use tidegate_wire::header::HEADER_BYTES;
use tidegate_wire::header::Header;
use tidegate_wire::server::{DeliverView, ServerFrame};

use super::account::Account;

#[derive(Debug)]
pub enum Inbox {
    Setup(Setup),
    Running(Box<Running>),
}

#[derive(Debug, Default)]
pub struct Setup {
    pub welcomed: usize,
    /// Conversation index (the request number less one) and id.
    pub created: Vec<(u32, u128)>,
    /// The first thing that went wrong.
    pub failure: Option<String>,
}

#[derive(Debug)]
pub struct Running {
    pub account: Account,
    /// Sessions, by place, once for each message of theirs that was acknowledged or refused.
    pub answered: Vec<u32>,
}

impl Inbox {
    /// One whole frame: header, body, padding.
    pub fn on_frame(&mut self, place: u32, now_ns: u64, header: &Header, frame: &[u8]) {
        match self {
            Self::Setup(setup) => setup.on_frame(header, frame),
            Self::Running(running) => running.on_frame(place, now_ns, header, frame),
        }
    }

    /// A session ended.
    pub fn on_end(&mut self, why: &str) {
        match self {
            Self::Setup(setup) => drop(setup.failure.get_or_insert_with(|| why.to_owned()).len()),
            Self::Running(running) => running.account.disconnected(why),
        }
    }
}

impl Setup {
    fn on_frame(&mut self, header: &Header, frame: &[u8]) {
        match read(header, frame) {
            Ok(ServerFrame::Welcome(_)) => self.welcomed += 1,
            Ok(ServerFrame::Created(created)) => {
                let index = u32::try_from(header.request.wrapping_sub(1));
                self.created.push((index.unwrap_or(u32::MAX), created.conversation));
            }
            Ok(ServerFrame::Error(error)) => {
                self.failure.get_or_insert(format!("the gateway said {}: {}", error.code, error.message));
            }
            Ok(_) => {}
            Err(why) => {
                self.failure.get_or_insert(why);
            }
        }
    }
}

impl Running {
    fn on_frame(&mut self, place: u32, now_ns: u64, header: &Header, frame: &[u8]) {
        if header.kind == kind::DELIVER {
            match DeliverView::read(frame) {
                Some(message) => self.account.delivered(place as usize, &message, now_ns),
                None => {
                    self.account.remark(|| format!("a deliver frame of {} bytes is not valid", frame.len()))
                }
            }
            return;
        }
        match read(header, frame) {
            Ok(ServerFrame::Ack(ack)) => {
                self.account.acked(place as usize, &ack, now_ns);
                self.answered.push(place);
            }
            Ok(ServerFrame::Error(error)) => {
                self.account.refused(&error);
                self.answered.push(place);
            }
            Ok(ServerFrame::Lagging(_)) => self.account.counts.lagging += 1,
            Ok(_) => {}
            Err(why) => self.account.remark(|| why),
        }
    }
}

fn read(header: &Header, frame: &[u8]) -> Result<ServerFrame, String> {
    ServerFrame::decode(header, &frame[HEADER_BYTES..HEADER_BYTES + header.length as usize])
        .map_err(|error| error.to_string())
}
