//! One call of the application: a quiet stretch, a slot, and what was asked over it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::pool::Pool;
use super::slot::{Answered, Slot};
use crate::model::{DmError, Kinds, Right};
use crate::proto::{Inspection, OpenFor, Reply, Request, Target};
use crate::sys::signal::Quiet;

/// A call in progress. Fields are dropped in order: the slot is back before signals come in.
pub(super) struct Call {
    slot: Option<Slot>,
    pool: &'static Pool,
    quiet: Quiet,
}

impl Call {
    pub(super) fn begin() -> Result<Self, DmError> {
        let quiet = Quiet::begin();
        let pool = Pool::of_process();
        Ok(Self {
            slot: Some(pool.take()?),
            pool,
            quiet,
        })
    }

    fn exchange(
        &mut self,
        request: &Request,
        beside: &[BorrowedFd<'_>],
    ) -> Result<Answered, DmError> {
        // The slot leaves only when the call is dropped.
        let slot = self.slot.as_mut().ok_or(DmError::Io)?;
        slot.ask(self.pool, &self.quiet, request, beside)
    }

    /// Asks the worker.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Reply, DmError> {
        Ok(self.exchange(request, &[])?.reply)
    }

    /// Ends what was entered or reserved.
    pub(super) fn leave(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.leave(self.pool);
        }
    }

    /// Lets handlers of signals run that came meanwhile.
    pub(super) fn let_signals_in(&self) {
        self.quiet.let_signals_in();
    }

    fn is_cut(&self) -> bool {
        self.slot
            .as_ref()
            .is_none_or(|slot| slot.is_cut(&self.quiet))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.put(slot);
        }
    }
}

/// Asks the worker one thing.
pub(super) fn ask(request: &Request) -> Result<Reply, DmError> {
    Call::begin()?.ask(request)
}

/// Asks the worker one thing and hands it descriptors.
pub(super) fn ask_with(request: &Request, beside: &[BorrowedFd<'_>]) -> Result<Reply, DmError> {
    Ok(Call::begin()?.exchange(request, beside)?.reply)
}

/// Asks for something that has no reply but its success.
pub(super) fn tell(request: &Request) -> Result<(), DmError> {
    match ask(request)? {
        Reply::Nothing => Ok(()),
        _ => Err(DmError::Io),
    }
}

/// Looks at an object with the shared right, which ends with the reply.
pub(super) fn inspect(target: &Target, what: Inspection) -> Result<Reply, DmError> {
    ask(&Request::Inspect {
        target: *target,
        what,
    })
}

/// A file that the call works on: the right to it is held, and it is open, until this is dropped.
pub(super) struct Entered {
    file: Option<OwnedFd>,
    request: Request,
    call: Call,
}

impl Entered {
    /// Takes the right and opens the object.
    pub(super) fn begin(
        target: &Target,
        right: Right,
        kinds: Kinds,
        open: OpenFor,
    ) -> Result<Self, DmError> {
        let mut entered = Self {
            file: None,
            request: Request::Enter {
                target: *target,
                right,
                kinds,
                open,
            },
            call: Call::begin()?,
        };
        entered.open()?;
        Ok(entered)
    }

    fn open(&mut self) -> Result<(), DmError> {
        let answered = self.call.exchange(&self.request, &[])?;
        match (answered.reply, answered.descriptor) {
            (Reply::Entered { .. }, Some(file)) => {
                self.file = Some(file);
                Ok(())
            }
            _ => {
                self.call.leave();
                Err(DmError::Io)
            }
        }
    }

    /// The file.
    pub(super) fn file(&self) -> Result<BorrowedFd<'_>, DmError> {
        // It is there from `open` to the drop.
        self.file.as_ref().map(AsFd::as_fd).ok_or(DmError::Io)
    }

    /// Between two pieces of a long transfer: signals are handled, and if the worker died, and the right with it,
    /// the next worker gives it again.
    pub(super) fn renew(&mut self) -> Result<(), DmError> {
        self.call.let_signals_in();
        if self.call.is_cut() {
            self.file = None;
            self.open()?;
        }
        Ok(())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Closed before the right ends: an open descriptor would make the next one's punch fail.
        if self.file.take().is_some() {
            self.call.leave();
        }
    }
}

/// Opens an object for a call without a session.
pub(super) fn look(request: &Request) -> Result<(OwnedFd, Kinds), DmError> {
    let answered = Call::begin()?.exchange(request, &[])?;
    match (answered.reply, answered.descriptor) {
        (Reply::Entered { kind }, Some(file)) => Ok((file, kind)),
        _ => Err(DmError::Io),
    }
}
