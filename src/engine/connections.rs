//! Connections: each carries one request at a time, which runs, waits, or is answered.

use std::collections::HashSet;
use std::sync::Arc;

use super::call_rights::Waiter;
use super::core::{Conn, Core, Waiting};
use super::outbox::Outbox;
use super::{Asked, ConnId, Outlet};
use crate::model::ids::{ClientId, RequestId, Sequence};
use crate::model::machine::Place;
use crate::model::{DmError, Handle, Right, Token};
use crate::proto::{Back, Reply};
use crate::sys::clock;

impl Core {
    pub fn connect(
        &mut self,
        client: ClientId,
        pid: u32,
        outlet: Arc<dyn Outlet>,
        out: &mut Outbox,
    ) -> ConnId {
        // A client that is here twice has lost the first connection without our knowing yet.
        if let Some(before) = self.clients.get(&client).copied() {
            if let Some(conn) = self.conns.get(&before) {
                out.close.push(Arc::clone(&conn.outlet));
            }
            self.closed(before, out);
        }
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        self.gone.remove(&client);
        self.clients.insert(client, id);
        let conn = Conn {
            client,
            pid,
            outlet,
            running: false,
            ended: false,
            waiting: None,
            working: None,
            entered: Vec::new(),
            writing: Vec::new(),
        };
        self.conns.insert(id, conn);
        id
    }

    /// May the connection begin a request? It carries one at a time.
    pub fn begin(&mut self, conn: ConnId) -> bool {
        match self.conns.get_mut(&conn) {
            Some(row) if !row.ended && !row.running && row.waiting.is_none() => {
                row.running = true;
                true
            }
            _ => false,
        }
    }

    /// Ends a connection that breaks the protocol.
    pub fn refuse(&mut self, conn: ConnId, out: &mut Outbox) {
        if let Some(row) = self.conns.get(&conn) {
            out.close.push(Arc::clone(&row.outlet));
        }
    }

    pub fn closed(&mut self, conn: ConnId, out: &mut Outbox) {
        self.stop_waiting(conn, out);
        self.leave(conn, out);
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        let client = row.client;
        row.ended = true;
        if self.clients.get(&client) == Some(&conn) {
            self.clients.remove(&client);
            self.gone.insert(client, clock::boottime_ms());
        }
        self.forget_ended(conn, out);
    }

    /// Forgets a connection that is over, unless a thread still works for it.
    pub fn forget_ended(&mut self, conn: ConnId, out: &mut Outbox) {
        let is_over = |row: &Conn| row.ended && !row.running;
        if !self.conns.get(&conn).is_some_and(is_over) {
            return;
        }
        self.stop_waiting(conn, out);
        self.leave(conn, out);
        self.end_work(conn, out);
        let pid = self.conns.remove(&conn).map_or(0, |row| row.pid);
        if !self.conns.values().any(|other| other.pid == pid) {
            self.unmounter_ended(pid, out);
        }
    }

    /// What was reserved and entered goes back.
    pub fn leave(&mut self, conn: ConnId, out: &mut Outbox) {
        let given_back: Vec<Sequence> = self
            .reserved
            .iter()
            .filter(|(_, holder)| **holder == conn)
            .map(|(sequence, _)| *sequence)
            .collect();
        let mut sessions = HashSet::new();
        for sequence in given_back {
            self.reserved.remove(&sequence);
            if let Some((_, Place::Queued(session))) = self.model.event(sequence) {
                sessions.insert(session);
            }
        }
        for session in sessions {
            self.serve_getters(session, out);
        }
        let (entered, written) = match self.conns.get_mut(&conn) {
            Some(conn) => (
                std::mem::take(&mut conn.entered),
                std::mem::take(&mut conn.writing),
            ),
            None => (Vec::new(), Vec::new()),
        };
        out.written.extend(written);
        for handle in entered {
            self.rights.release(handle, conn);
            self.regrant(handle, out);
        }
    }

    /// The connection is about to get a descriptor to write of the object.
    pub fn writes(&mut self, conn: ConnId, handle: Handle) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.writing.push(handle);
        }
    }

    /// `number` is answered `Interrupted` if it waits; what it waited for is returned.
    pub fn give_up(
        &mut self,
        conn: ConnId,
        number: u64,
        out: &mut Outbox,
    ) -> Option<(RequestId, Waiting)> {
        let waits = self
            .conns
            .get(&conn)
            .and_then(|conn| conn.waiting.as_ref())
            .is_some_and(|(id, _)| id.number == number);
        if !waits {
            return None;
        }
        let waiting = self.stop_waiting(conn, out);
        if let Some((id, Waiting::Unmount { .. })) = &waiting {
            self.originator_gone(*id, out);
        }
        self.reply_later(conn, number, Err(DmError::Interrupted), out);
        waiting
    }

    /// The request of a connection waits from now on.
    pub fn park(&mut self, conn: ConnId, id: RequestId, waiting: Waiting) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.running = false;
            conn.waiting = Some((id, waiting));
        }
    }

    /// It does not wait any more, as it is about to be answered.
    pub fn take_waiting(&mut self, conn: ConnId) -> Option<(RequestId, Waiting)> {
        self.conns.get_mut(&conn)?.waiting.take()
    }

    /// It does not wait any more, as nobody wants it.
    fn stop_waiting(&mut self, conn: ConnId, out: &mut Outbox) -> Option<(RequestId, Waiting)> {
        let (id, waiting) = self.take_waiting(conn)?;
        match &waiting {
            Waiting::Messages { session, .. } => {
                if let Some(line) = self.getters.get_mut(session) {
                    line.retain(|other| *other != conn);
                }
            }
            Waiting::Answer | Waiting::Mount { .. } | Waiting::Unmount { .. } => {
                self.askers.remove(&id);
            }
            Waiting::Right { handle, .. } => {
                let handle = *handle;
                self.rights.cancel(handle, conn);
                self.regrant(handle, out);
            }
            Waiting::UnmountEnd { .. } => {}
        }
        Some((id, waiting))
    }

    /// A request is about to be answered: its right ends, or stays with `Enter`. Returns the way to the client.
    pub fn finished(
        &mut self,
        conn: ConnId,
        outcome: &Result<Reply, DmError>,
        out: &mut Outbox,
    ) -> Option<Arc<dyn Outlet>> {
        let row = self.conns.get_mut(&conn)?;
        row.running = false;
        let outlet = Arc::clone(&row.outlet);
        if matches!(outcome, Ok(Reply::Entered { .. })) {
            let handle = row.working.take();
            row.entered.extend(handle);
        } else {
            self.end_work(conn, out);
        }
        self.forget_ended(conn, out);
        self.conns.contains_key(&conn).then_some(outlet)
    }

    /// The right of the present request ends.
    pub fn end_work(&mut self, conn: ConnId, out: &mut Outbox) {
        let working = self
            .conns
            .get_mut(&conn)
            .and_then(|conn| conn.working.take());
        if let Some(handle) = working {
            self.rights.release(handle, conn);
            self.regrant(handle, out);
        }
    }

    pub fn reply_later(
        &mut self,
        conn: ConnId,
        number: u64,
        outcome: Result<Reply, DmError>,
        out: &mut Outbox,
    ) {
        if let Some(outlet) = self.finished(conn, &outcome, out) {
            out.replies.push((outlet, Back::Done { number, outcome }));
        }
    }

    /// Takes a right for a call on behalf of a connection, or parks the request.
    pub fn take_right(&mut self, handle: Handle, right: Right, asked: Asked) -> Option<Asked> {
        let conn = asked.conn;
        let tokens = self.model.strongest_right(handle, None);
        if self.rights.try_take(handle, conn, right, tokens) {
            match self.conns.get_mut(&conn) {
                Some(row) => row.working = Some(handle),
                // It ended meanwhile; nobody would release the right.
                None => self.rights.release(handle, conn),
            }
            return Some(asked);
        }
        self.wait_for_right(handle, right, None, asked);
        None
    }

    /// Parks a request until it holds the right as a call.
    pub fn wait_for_right(
        &mut self,
        handle: Handle,
        right: Right,
        token: Option<Token>,
        asked: Asked,
    ) {
        let (conn, id) = (asked.conn, asked.id);
        if !self.conns.contains_key(&conn) {
            return;
        }
        let waiter = Waiter { conn, right, token };
        self.rights.wait(handle, waiter);
        let asked = Box::new(asked);
        self.park(conn, id, Waiting::Right { handle, asked });
    }

    /// A right on the object ended, or a waiter is gone: the next in line go on.
    pub fn regrant(&mut self, handle: Handle, out: &mut Outbox) {
        let model = &self.model;
        let granted = self
            .rights
            .grant(handle, |token| model.strongest_right(handle, token));
        for waiter in granted {
            match self.take_waiting(waiter.conn) {
                Some((_, Waiting::Right { mut asked, .. })) => {
                    if let Some(conn) = self.conns.get_mut(&waiter.conn) {
                        conn.running = true;
                        conn.working = Some(handle);
                    }
                    asked.granted = true;
                    out.granted.push(*asked);
                }
                _ => self.rights.release(handle, waiter.conn),
            }
        }
    }
}
