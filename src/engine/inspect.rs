//! Calls that only look at an object: one round trip, the object is never open in the application.

use std::os::fd::AsFd;

use super::files::Opened;
use super::{Asked, Engine, Outcome};
use crate::fs::{Want, attr, state};
use crate::model::{AttrMask, DmError, Handle, Kinds, ObjectStat, OpenFor, Right};
use crate::proto::{Inspection, PACKET_BYTES_MAX, Reply, Target};

/// Kinds that can have DM attributes.
const HOLDERS: Kinds = Kinds::REGULAR.or(Kinds::DIRECTORY).or(Kinds::SYMLINK);
/// More than that does not go into a reply; the rest of the packet is for what is around it.
const ATTRIBUTES_BYTES_MAX: usize = PACKET_BYTES_MAX / 2;
/// Of the reply for an attribute besides its value: its name, and lengths.
const ATTRIBUTE_OVERHEAD_BYTES: usize = 16;

impl Engine {
    pub(super) fn inspect(&self, asked: Asked, target: Target, what: Inspection) -> Outcome {
        let kinds = match what {
            Inspection::Attribute(_) | Inspection::Attributes => HOLDERS,
            Inspection::Regions => Kinds::REGULAR,
            Inspection::Stat { .. } => Kinds::OBJECT,
        };
        let (right, open) = (Right::Shared, OpenFor::Look);
        self.on_object(asked, target, right, kinds, open, |_, opened| {
            let fd = opened.fd.as_fd();
            match what {
                Inspection::Attribute(name) => attr::get(fd, &name).map(Reply::Value),
                Inspection::Attributes => attr::list(fd).map(all_attributes),
                Inspection::Regions => state::read(fd)
                    .map(|state| Reply::Regions(state.regions))
                    .map_err(DmError::from),
                Inspection::Stat { mask, dtime_alone } => self
                    .stat_of(target.handle, &opened, AttrMask(mask), dtime_alone)
                    .map(|stat| Reply::Stat(Box::new(stat))),
            }
            .into()
        })
    }

    fn stat_of(
        &self,
        handle: Handle,
        opened: &Opened,
        mask: AttrMask,
        dtime_alone: bool,
    ) -> Result<ObjectStat, DmError> {
        let want = Want {
            dtime_alone,
            ..Want::of(mask)
        };
        let is_open = mask.has(AttrMask::FOPEN) && self.is_open(handle, opened)?;
        let found = opened.mount.look(opened.fd.as_fd(), &want)?;
        // Behind FUSE users see another one.
        let device = handle.fs().and_then(|fs| self.source.user_device(fs));
        Ok(ObjectStat {
            is_open,
            device: device.unwrap_or(found.device),
            ..found
        })
    }
}

fn all_attributes(attributes: Vec<attr::Attribute>) -> Reply {
    let bytes: usize = attributes
        .iter()
        .map(|(_, value)| value.len() + ATTRIBUTE_OVERHEAD_BYTES)
        .sum();
    match bytes <= ATTRIBUTES_BYTES_MAX {
        true => Reply::Attributes(attributes),
        false => Reply::Long,
    }
}
