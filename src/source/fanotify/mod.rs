//! The fanotify pre-content source: xfs, ext4, btrfs; kernel 6.14 or newer; CAP_SYS_ADMIN.
