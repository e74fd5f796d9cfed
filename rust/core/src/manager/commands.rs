//! What other threads have asked of the loop, taken all at once.

use std::sync::Arc;
use std::time::Duration;

use mio::{Interest, Token};

use crate::proto::{CloseCode, CloseFrame};

use super::connection::{CloseCause, Connection};
use super::deadlines::Deadlines;
use super::handler::Event;
use super::peer::{Peer, Stage};
use super::queue::{Adoption, Command, Commands, Target};
use super::rate::MessageRate;
use super::turn::{Loop, after, find, list};
use crate::stream::Stream;

impl<C: Send> Loop<C> {
    /// Takes all commands, in order. For the peers that are now to be `answered` with a CLOSE the
    /// door shuts here: what was accepted before goes out, and nothing is accepted after.
    pub(super) fn take_commands(&mut self, answered: &[Target]) {
        let mut commands = std::mem::take(&mut self.spare);
        let closing = answered.iter().filter_map(|target| {
            let peer = self.peers.get(target.slot)?;
            (peer.link.id == target.id).then_some(&*peer.link)
        });
        let all = self.peers.iter().map(|(_, peer)| &*peer.link);
        if !self.queue.take(&mut commands, &self.waker, closing, all) && !self.left_behind {
            self.left_behind = true;
            commands.shuts_down = Some(Duration::ZERO);
        }
        let Commands { list, arena, shuts_down, .. } = &mut commands;
        let mut rest = list.drain(..);
        while let Some(command) = rest.next() {
            match command {
                Command::Adopt(adoption) => self.adopt(*adoption),
                Command::Send { address, frames, messages } => {
                    let is_last = rest.len() == 0;
                    self.send(address, frames, arena, messages, is_last);
                }
                Command::Close { target, frame, cause } => self.close(target, frame, cause),
                Command::Advance { target, stage } => self.advance(target, stage),
                Command::Answer(target) => self.answer_one(target),
                Command::Resume(target) => self.resume(target),
                Command::Finish => self.finishing = true,
            }
        }
        drop(rest);
        if let Some(timeout) = shuts_down.take() {
            self.shut_down(timeout);
        }
        commands.clear();
        self.spare = commands;
    }

    fn adopt(&mut self, adoption: Adoption<C>) {
        let Adoption {
            stream,
            session,
            response,
            mut received,
            deflate,
            deferred,
            permit,
            context,
        } = adoption;
        let entry = self.peers.vacant_entry();
        let slot = entry.key();
        let registered = stream.set_nonblocking(true).and_then(|()| {
            let mut stream = mio::net::TcpStream::from_std(stream);
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(slot), both)?;
            Ok(Stream::new(stream, session))
        });
        let stream = match registered {
            Ok(stream) => stream,
            Err(error) => {
                log::error!("cannot adopt a connection: {error}");
                return;
            }
        };
        let (now, interval) = (self.clock.now(), self.config.ping_interval);
        let deadlines = |id| Deadlines::new(id, now, interval);
        let rate = MessageRate::new(self.config.max_message_rate, now);
        let peer = Peer::new(stream, slot, response, deflate, permit, deadlines, rate);
        let peer = entry.insert(peer);
        peer.deferred = deferred;
        self.counters.connections += 1;
        self.counters.connections_total += 1;
        let connection =
            Connection { link: Arc::clone(&peer.link), queue: Arc::clone(&self.queue) };
        let target = connection.target();
        self.adopted.push(target);
        self.turnover += 1;
        self.arm(slot);
        self.batch.events.push(Event::Established { connection, context });
        if !received.is_empty() {
            self.counters.bytes_received += received.len() as u64;
            self.take_in(slot, |peer, _, intake| {
                peer.decode(&mut received, None, intake);
            });
        }
        if self.stop_deadline.is_some() {
            self.close(target, server_stop_frame(), CloseCause::ServerStop);
        }
    }

    fn advance(&mut self, target: Target, stage: Stage) {
        let Some(peer) = find(&mut self.peers, target) else { return };
        if peer.deferred && peer.stage < stage {
            peer.stage = Stage::Greeting;
            if stage == Stage::Talking {
                peer.begin();
            }
            list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
        }
    }

    pub(super) fn close(&mut self, target: Target, frame: CloseFrame, cause: CloseCause) {
        let Some(peer) = find(&mut self.peers, target) else { return };
        if peer.protocol.is_open() {
            peer.close(frame, cause, &mut self.pool, &mut self.counters);
            list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
            self.begin_closing(target.slot);
        }
    }

    fn shut_down(&mut self, timeout: Duration) {
        let deadline = after(timeout);
        self.stop_deadline = Some(self.stop_deadline.map_or(deadline, |set| set.min(deadline)));
        let open = self.peers.iter().map(|(slot, peer)| Target { slot, id: peer.link.id });
        for target in open.collect::<Vec<_>>() {
            self.close(target, server_stop_frame(), CloseCause::ServerStop);
        }
    }
}

fn server_stop_frame() -> CloseFrame {
    CloseFrame::new(CloseCode::GOING_AWAY, "server stop").unwrap_or_default()
}
