//! The image of a journal, and the control page. An input is a list of patches of a good image; its first
//! byte tells which checksums are made right again, as nothing gets past a wrong one.

use std::path::PathBuf;
use std::sync::LazyLock;

use dmapi::journal::format::{
    AREAS_OFFSET, FoundSuperblock, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSETS, Superblock,
};
use dmapi::journal::record::{HEADER_BYTES, Header, record_bytes};
use dmapi::journal::{
    Control, Journal, Lsn, Options, Priority, Replica, Sizes, State, inspect, recover, replay,
};
use dmapi::model::Model;

use super::{Target, join, model::life, pieces};

/// The targets of this module.
pub fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "journal",
            run: journal,
            seeds: patch_seeds,
            slice: 500,
        },
        Target {
            name: "control_page",
            run: control_page,
            seeds: patch_seeds,
            // A page that settles never is looked at a thousand times.
            slice: 80,
        },
    ]
}

const SIZES: Sizes = Sizes {
    log_bytes: 8192,
    checkpoint_bytes: 4096,
};

/// A good journal with its page, in a directory that is removed at the end.
struct Good {
    dir: tempfile::TempDir,
    image: Vec<u8>,
    page: Vec<u8>,
}

impl Good {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal.dmj");
    let options = Options {
        node: "fuzz".to_owned(),
        incarnation: 1,
        epoch: 1,
        sizes: SIZES,
    };
    let mut journal = Journal::create(&path, &options).expect("a journal");
    let mut model = Model::default();
    for (at, entry) in life().iter().enumerate() {
        model.apply(entry).expect("it follows");
        journal.append_entry(entry, Priority::Normal).expect("room");
        if at == 7 {
            journal.checkpoint(&State::encode(&model)).expect("room");
        }
    }
    let control = Control::create(&dir.path().join("control")).expect("a page");
    journal.publish_on(control).expect("published");
    drop(journal);
    let image = std::fs::read(&path).expect("the image");
    let page = std::fs::read(dir.path().join("control")).expect("the page");
    Good { dir, image, page }
});

/// Each piece: an offset (u16, little endian), then what is put there.
fn patched(image: &[u8], patches: &[&[u8]]) -> Vec<u8> {
    let mut image = image.to_vec();
    for patch in patches {
        let Some((offset, bytes)) = patch.split_first_chunk() else {
            continue;
        };
        let offset = usize::from(u16::from_le_bytes(*offset)) % image.len();
        let end = image.len().min(offset + bytes.len());
        image[offset..end].copy_from_slice(&bytes[..end - offset]);
    }
    image
}

fn seal_superblocks(image: &mut [u8]) {
    for offset in SUPERBLOCK_OFFSETS {
        let bytes = &mut image[offset as usize..][..SUPERBLOCK_BYTES];
        let crc = crc32c::crc32c(&bytes[..SUPERBLOCK_BYTES - 4]);
        bytes[SUPERBLOCK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Gives each record the checksum and the chain that it would have had.
fn seal_records(image: &mut [u8]) {
    let superblocks = SUPERBLOCK_OFFSETS.map(|offset| {
        let bytes = image[offset as usize..].first_chunk().expect("it is there");
        Superblock::decode(bytes)
    });
    let valid = superblocks.iter().filter_map(|found| match found {
        FoundSuperblock::Valid(valid) => Some(valid),
        _ => None,
    });
    let Some(superblock) = valid.max_by_key(|superblock| superblock.generation) else {
        return;
    };
    let mut at = (AREAS_OFFSET + 2 * SIZES.checkpoint_bytes) as usize;
    let mut chain = superblock.chain;
    while let Some(head) = image
        .get(at..)
        .and_then(<[u8]>::first_chunk::<HEADER_BYTES>)
    {
        let Some(mut header) = Header::decode(head) else {
            break;
        };
        let start = at + HEADER_BYTES;
        let Some(body) = image.get(start..start + header.body_bytes as usize) else {
            break;
        };
        header.chain = chain;
        header.crc = header.checksum(superblock.identity, at as u64, body);
        image[at + 32..at + 36].copy_from_slice(&header.crc.to_le_bytes());
        image[at + 36..at + 40].copy_from_slice(&chain.to_le_bytes());
        chain = header.crc;
        at += record_bytes(header.body_bytes as usize) as usize;
    }
}

/// Recovery takes what inspection calls good, and nothing else.
fn journal(bytes: &[u8]) {
    let Some((flags, patches)) = bytes.split_first() else {
        return;
    };
    let mut image = patched(&GOOD.image, &pieces(patches));
    if flags & 1 != 0 {
        seal_superblocks(&mut image);
    }
    if flags & 2 != 0 {
        seal_records(&mut image);
    }
    if flags & 4 != 0 {
        image.truncate(image.len() - usize::from(flags >> 3) * 512);
    }
    let path = GOOD.path("patched.dmj");
    std::fs::write(&path, &image).expect("written");
    let recovered = recover::read(&path);
    let inspection = inspect::inspect(&path).expect("a file can be inspected");
    let good = inspection.log.as_ref().is_ok_and(|log| {
        let _ = log.end_words();
        log.checkpoint.is_ok() && log.judge(&inspection.name).is_ok()
    });
    assert_eq!(recovered.is_ok(), good);
    if let Ok(recovered) = recovered {
        let lsns = (recovered.checkpoint_lsn.0 + 1..).map(Lsn);
        assert!(
            lsns.zip(&recovered.entries)
                .all(|(lsn, (found, _))| lsn == *found)
        );
        let _ = replay::replay::<Model>("fuzz", &recovered).map(|model| model.check());
    }
}

/// A reader believes neither the page nor the journal that it names.
fn control_page(bytes: &[u8]) {
    let Some((flags, patches)) = bytes.split_first() else {
        return;
    };
    let mut page = patched(&GOOD.page, &pieces(patches));
    if flags & 1 != 0 {
        page.truncate(usize::from(*flags) * 16);
    }
    let path = GOOD.path("control.patched");
    std::fs::write(&path, &page).expect("written");
    if let Ok(mut replica) = Replica::<Model>::open(&path) {
        let _ = replica.catch_up();
        let _ = replica.catch_up();
    }
}

fn patch_seeds() -> Vec<Vec<u8>> {
    let patch = |offset: u16, bytes: &[u8]| [&offset.to_le_bytes()[..], bytes].concat();
    let log = (AREAS_OFFSET + 2 * SIZES.checkpoint_bytes) as u16;
    let mut seeds = Vec::new();
    for flags in [0, 1, 2, 3, 4] {
        for offset in [
            0,
            16,
            40,
            64,
            72,
            AREAS_OFFSET as u16,
            log,
            log + 8,
            log + 40,
        ] {
            let patches = [patch(offset, &[0, 0, 0, 1]), patch(offset + 4096, &[0; 8])];
            seeds.push([vec![flags], join(&patches)].concat());
        }
    }
    seeds
}
