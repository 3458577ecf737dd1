//! Who has a file mapped, from /proc/PID/maps.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// A mapped range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// All mappings of the file by processes of this process's pid namespace.
pub fn of_file(device: u64, inode: u64) -> impl Iterator<Item = Mapping> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .flat_map(move |pid| of_process(pid, device, inode))
}

fn of_process(pid: u32, device: u64, inode: u64) -> Vec<Mapping> {
    // A process that is gone, or is a kernel thread, maps nothing.
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines()
        .filter_map(parse)
        .filter(|line| line.inode == inode)
        // The device of the line is the file system's; on btrfs stat(2) tells the subvolume's.
        .filter(|line| {
            let link = format!("/proc/{pid}/map_files/{:x}-{:x}", line.start, line.end);
            fs::metadata(link).is_ok_and(|file| file.dev() == device)
        })
        .map(|line| Mapping {
            offset: line.offset,
            length: line.end - line.start,
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    start: u64,
    end: u64,
    offset: u64,
    inode: u64,
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let offset = words.nth(1)?;
    let inode = words.nth(1)?;
    Some(Line {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        inode: inode.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_is_understood() {
        let line = "7f12a000-7f12c000 r--s 00003000 fd:00 131                    /mnt/a b";
        let wanted = Line {
            start: 0x7f12_a000,
            end: 0x7f12_c000,
            offset: 0x3000,
            inode: 131,
        };
        assert_eq!(parse(line), Some(wanted));
        assert_eq!(parse("7f12a000-7f12c000 r--s"), None);
    }

    #[test]
    fn a_mapping_of_our_own_is_found() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8 * 4096).expect("its size");
        let stat = file.metadata().expect("stat");
        assert_eq!(of_file(stat.dev(), stat.ino()).count(), 0);
        let mut options = memmap2::MmapOptions::new();
        let map = options
            .offset(2 * 4096)
            .len(4096)
            .map_raw_read_only(&file)
            .expect("a mapping");
        let found: Vec<Mapping> = of_file(stat.dev(), stat.ino()).collect();
        let wanted = Mapping {
            offset: 2 * 4096,
            length: 4096,
        };
        assert_eq!(found, vec![wanted]);
        drop(map);
    }
}
