//! FIFOs, sockets and what EFS refuses to make.

use rustix::fs::FileType;

use super::{Outcome, Place, cases, refused_with_any};
use crate::lab::files::{Errno, OFlags, lstat, mkfifo, mknod, names, open, unlink};

fn a_fifo_can_be_made_and_removed(place: &Place) -> Outcome {
    mkfifo(&place.at("fifo"), 0o640)?;
    let told = lstat(&place.other("fifo"))?;
    assert_eq!(told.st_mode, 0o010_640);
    unlink(&place.at("fifo"))?;
    assert!(names(place.root())?.is_empty());
    Ok(())
}

fn a_fifo_carries_bytes_on_one_machine(place: &Place) -> Outcome {
    mkfifo(&place.at("fifo"), 0o640)?;
    // Opened for both, so that neither end waits for the other.
    let mut fifo = open(&place.at("fifo"), OFlags::RDWR, 0)?;
    std::io::Write::write_all(&mut fifo, b"through").map_err(|_| Errno::IO)?;
    let mut bytes = [0; 7];
    std::io::Read::read_exact(&mut fifo, &mut bytes).map_err(|_| Errno::IO)?;
    assert_eq!(&bytes, b"through");
    Ok(())
}

fn a_socket_can_be_bound_and_reached(place: &Place) -> Outcome {
    // The name of a socket is limited to 107 bytes; a directory's descriptor makes it short.
    let directory = crate::lab::files::open_read(place.root())?;
    let name = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&directory));
    let listener = std::os::unix::net::UnixListener::bind(&name)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    std::os::unix::net::UnixStream::connect(&name).map_err(|_| Errno::IO)?;
    drop(listener);
    assert_eq!(lstat(&place.other("socket"))?.st_mode & 0o170_000, 0o140_000);
    Ok(())
}

fn efs_makes_no_devices(place: &Place) -> Outcome {
    // The kernel hands the server's NFS4ERR_NOTSUPP or NFS4ERR_BADTYPE through as numbers that have no name for programs.
    let (unsupported, bad_type) = (Errno::from_raw_os_error(524), Errno::from_raw_os_error(527));
    let refusals = [unsupported, bad_type, Errno::OPNOTSUPP, Errno::PERM, Errno::INVAL];
    refused_with_any(mknod(&place.at("char"), FileType::CharacterDevice), &refusals);
    refused_with_any(mknod(&place.at("block"), FileType::BlockDevice), &refusals);
    assert!(names(place.root())?.is_empty());
    Ok(())
}

cases!("special":
    a_fifo_can_be_made_and_removed,
    a_fifo_carries_bytes_on_one_machine,
    a_socket_can_be_bound_and_reached,
    efs_makes_no_devices,
);
