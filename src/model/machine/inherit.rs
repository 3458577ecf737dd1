//! Attributes that new objects inherit (`dm_set_inherit`). They belong to the file system and outlive its mount.

use super::super::file::Inherit;
use super::super::limits::INHERITS_MAX;
use super::{Corrupt, DmError, Effect, FsId, Handle, Model, Plan, Record, Right};
use super::{SessionId, Token};

impl Model {
    /// `dm_set_inherit`; without records if it is so already.
    pub fn plan_set_inherit(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
        name: [u8; 8],
        mode: u32,
    ) -> Result<Plan<()>, DmError> {
        let fs = self.check_fs_call(session, handle, token, Right::Exclusive)?;
        let inherit = Inherit::new(name, mode).ok_or(DmError::Invalid)?;
        if self.inherits.has((fs, inherit)) {
            return Ok(Plan::new(Vec::new(), ()));
        }
        if self.inherits.len() >= INHERITS_MAX {
            return Err(DmError::NoSpace);
        }
        Ok(Plan::one(Record::InheritSet { fs, inherit }, ()))
    }

    /// `dm_clear_inherit`: for all kinds of objects. `ENOENT` if no kind inherits it.
    pub fn plan_clear_inherit(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
        name: [u8; 8],
    ) -> Result<Plan<()>, DmError> {
        let fs = self.check_fs_call(session, handle, token, Right::Exclusive)?;
        if name[0] == 0 {
            return Err(DmError::Invalid);
        }
        match self.inherits(fs).any(|inherit| inherit.name == name) {
            true => Ok(Plan::one(Record::InheritCleared { fs, name }, ())),
            false => Err(DmError::NotFound),
        }
    }

    /// `dm_getall_inherit`, in the order of names, then of types.
    pub fn inherits_of(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<Vec<Inherit>, DmError> {
        let fs = self.check_fs_call(session, handle, token, Right::Shared)?;
        Ok(self.inherits(fs).collect())
    }

    /// What new objects of the file system inherit.
    pub fn inherits(&self, fs: FsId) -> impl Iterator<Item = Inherit> + '_ {
        let bound = |byte: u8, file_type: u32| Inherit {
            name: [byte; 8],
            file_type,
        };
        self.inherits
            .range((fs, bound(0, 0))..=(fs, bound(u8::MAX, u32::MAX)))
            .map(|((_, inherit), ())| inherit)
    }

    pub(super) fn inherit_set(
        &mut self,
        fs: FsId,
        inherit: Inherit,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        self.fs_row(fs)?;
        if Inherit::new(inherit.name, inherit.file_type) != Some(inherit) {
            return Err(Corrupt::new("nothing can inherit such an attribute"));
        }
        self.inherits.insert((fs, inherit), ());
        effects.push(Effect::InterestChanged { fs });
        Ok(())
    }

    pub(super) fn inherit_cleared(
        &mut self,
        fs: FsId,
        name: [u8; 8],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        self.fs_row(fs)?;
        let gone: Vec<Inherit> = self
            .inherits(fs)
            .filter(|inherit| inherit.name == name)
            .collect();
        for inherit in gone {
            self.inherits.remove((fs, inherit));
        }
        effects.push(Effect::InterestChanged { fs });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::event::MountBody;
    use super::*;

    const FS: FsId = FsId(7);
    const NAME: [u8; 8] = *b"CLASS\0\0\0";
    const REGULAR: u32 = 0o100_644;
    const DIRECTORY: u32 = 0o040_000;

    fn run<T>(model: &mut Model, plan: Result<Plan<T>, DmError>) -> T {
        let Plan { records, value } = plan.expect("planned");
        let entry = Plan::new(records, ()).into_entry();
        model.apply(&entry).expect("applied");
        model.check().expect("sound");
        value
    }

    fn mount() -> MountBody {
        MountBody {
            mode: 0,
            fs: Handle::Fs(FS),
            mount_point: None,
            path: b"/m".to_vec(),
            device: b"d".to_vec(),
            root: Handle::Object {
                fs: FS,
                inode: 1,
                generation: 1,
            },
        }
    }

    #[test]
    fn inherited_attributes_outlive_the_mount() {
        let mut model = Model::default();
        let plan = model.plan_create_session(None, b"s");
        let session = run(&mut model, plan);
        let plan = model.plan_add_fs(FS, mount());
        run(&mut model, plan);
        for mode in [REGULAR, DIRECTORY, REGULAR] {
            let plan = model.plan_set_inherit(session, Handle::Fs(FS), None, NAME, mode);
            run(&mut model, plan);
        }
        let plan = model.plan_drop_fs(FS);
        run(&mut model, plan);
        assert_eq!(
            model.inherits_of(session, Handle::Fs(FS), None),
            Err(DmError::BadHandle)
        );
        let plan = model.plan_add_fs(FS, mount());
        run(&mut model, plan);
        let found = model
            .inherits_of(session, Handle::Fs(FS), None)
            .expect("ok");
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|one| one.covers(0o100_600)));
        assert!(!found.iter().any(|one| one.covers(0o120_777)));
        let clear = |model: &Model| model.plan_clear_inherit(session, Handle::Fs(FS), None, NAME);
        let plan = clear(&model);
        run(&mut model, plan);
        assert_eq!(model.inherits(FS).count(), 0);
        assert_eq!(clear(&model), Err(DmError::NotFound));
    }

    #[test]
    fn only_objects_with_attributes_inherit() {
        assert_eq!(Inherit::new(NAME, 0o020_000), None);
        assert_eq!(Inherit::new([0; 8], REGULAR), None);
        let any = Inherit::new(NAME, 0o777).expect("no type is any type");
        assert!(any.covers(REGULAR) && any.covers(DIRECTORY) && any.covers(0o120_777));
        assert!(!any.covers(0o010_644));
    }

    #[test]
    fn too_many_are_refused() {
        let mut model = Model::default();
        let plan = model.plan_create_session(None, b"s");
        let session = run(&mut model, plan);
        let plan = model.plan_add_fs(FS, mount());
        run(&mut model, plan);
        let named = |number: usize| {
            let mut name = [b'x'; 8];
            name[..4].copy_from_slice(format!("{number:04x}").as_bytes());
            name
        };
        let set = |model: &Model, number| {
            model.plan_set_inherit(session, Handle::Fs(FS), None, named(number), 0)
        };
        for number in 0..INHERITS_MAX {
            let entry = set(&model, number).expect("room").into_entry();
            model.apply(&entry).expect("applied");
        }
        assert_eq!(set(&model, INHERITS_MAX), Err(DmError::NoSpace));
        // What is there already needs no room.
        assert!(set(&model, 0).is_ok());
    }
}
