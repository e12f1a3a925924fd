//! Every operation with right and wrong arguments: the status that ends the request.

use std::sync::Arc;

use fake_efs::nfs::{Options, Status};
use fake_efs::store::{FileId, MemoryStore, NewBody, NewNode, Store};

use super::client::*;
use super::server::Running;

const LONG: &[u8] = &[b'x'; 256];
const MAX: u64 = u64::MAX;

/// Makes an object straight in the store.
pub(crate) fn make(
    store: &Arc<dyn Store>,
    parent: FileId,
    name: &[u8],
    body: NewBody,
    mode: u32,
    owner: (u32, u32),
) -> FileId {
    let node = NewNode { body, mode, uid: owner.0, gid: owner.1 };
    store.create(parent, name, &node).unwrap().0.id
}

/// A file system with one of everything.
pub(crate) fn populated() -> Running {
    populated_with(Options::default())
}

pub(crate) fn populated_with(options: Options) -> Running {
    let running = Running::with(Arc::new(MemoryStore::default()), options);
    let store = running.store();
    let root = store.root();
    let file = || NewBody::Regular { verifier: None };
    let f = make(&store, root, b"f", file(), 0o644, (0, 0));
    store.write(f, 0, b"0123456789").unwrap();
    make(&store, root, b"private", file(), 0o600, (0, 0));
    make(&store, root, b"mine", file(), 0o600, (1000, 1000));
    make(&store, root, b"exec", file(), 0o711, (0, 0));
    make(&store, root, b"d", NewBody::Directory, 0o755, (0, 0));
    make(&store, root, b"closed", NewBody::Directory, 0o700, (0, 0));
    let full = make(&store, root, b"full", NewBody::Directory, 0o777, (0, 0));
    make(&store, full, b"x", file(), 0o644, (0, 0));
    let sticky = make(&store, root, b"sticky", NewBody::Directory, 0o1777, (0, 0));
    make(&store, sticky, b"theirs", file(), 0o644, (0, 0));
    make(&store, sticky, b"mine", file(), 0o644, (1000, 1000));
    make(&store, root, b"s", NewBody::Symlink { target: b"f".to_vec() }, 0o777, (0, 0));
    make(&store, root, b"p", NewBody::Fifo, 0o644, (0, 0));
    make(&store, root, b"k", NewBody::Socket, 0o644, (0, 0));
    running
}

/// Runs the operations behind PUTROOTFH as a user and compares the status, and that it came from the last operation.
fn check(uid: u32, ops: Vec<Op>, expected: u32) {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    (wire.uid, wire.gid) = (uid, uid);
    let ops: Vec<Op> = std::iter::once(putrootfh()).chain(ops).collect();
    let reply = wire.run(&ops);
    let name = Status::from_number(reply.status);
    assert_eq!(reply.status, expected, "{name:?}");
    assert_eq!(reply.count as usize, ops.len() + 1, "another operation failed");
}

macro_rules! cases {
    ($uid:literal: $($name:ident: [$($op:expr),* $(,)?] => $status:expr;)*) => {
        $(#[test] fn $name() { check($uid, vec![$($op),*], $status as u32); })*
    };
}

cases! { 0:
    access_with_an_unknown_bit: [access(64)] => Status::Inval;
    access_of_everything: [access(63)] => OK;
    commit_of_a_directory: [commit(0, 0)] => Status::IsDir;
    commit_of_a_file: [lookup(b"f"), commit(0, 0)] => OK;
    commit_beyond_the_end_of_numbers: [lookup(b"f"), commit(MAX, 2)] => Status::Inval;
    commit_of_a_symlink: [lookup(b"s"), commit(0, 0)] => Status::Symlink;
    create_a_directory: [mkdir(b"new")] => OK;
    create_a_directory_that_exists: [mkdir(b"d")] => Status::Exist;
    create_in_a_file: [lookup(b"f"), mkdir(b"new")] => Status::NotDir;
    create_in_a_symlink: [lookup(b"s"), mkdir(b"new")] => Status::NotDir;
    create_without_a_name: [mkdir(b"")] => Status::Inval;
    create_dot: [mkdir(b".")] => Status::BadName;
    create_dot_dot: [mkdir(b"..")] => Status::BadName;
    create_with_a_slash: [mkdir(b"a/b")] => Status::BadChar;
    create_with_a_nul: [mkdir(b"a\0b")] => Status::BadChar;
    create_with_the_longest_name: [mkdir(&LONG[..255])] => OK;
    create_with_too_long_a_name: [mkdir(LONG)] => Status::NameTooLong;
    create_a_symlink: [symlink(b"new", b"target")] => OK;
    create_an_empty_symlink: [symlink(b"new", b"")] => Status::Inval;
    create_the_longest_symlink: [symlink(b"new", &[b'x'; 4080])] => OK;
    create_too_long_a_symlink: [symlink(b"new", &[b'x'; 4081])] => Status::NameTooLong;
    create_a_fifo: [create(7, b"new", (&[], &[]))] => OK;
    create_a_socket: [create(6, b"new", (&[], &[]))] => OK;
    create_a_block_device: [create(3, b"new", (&[], &[]))] => Status::BadType;
    create_a_character_device: [create(4, b"new", (&[], &[]))] => Status::BadType;
    create_a_regular_file: [create(1, b"new", (&[], &[]))] => Status::BadType;
    create_an_attribute_directory: [create(8, b"new", (&[], &[]))] => Status::BadType;
    create_a_named_attribute: [create(9, b"new", (&[], &[]))] => Status::BadType;
    create_an_unknown_type: [create(99, b"new", (&[], &[]))] => Status::BadXdr;
    create_with_a_size: [create(2, b"new", (&[4], &[0; 8]))] => Status::Inval;
    create_with_an_acl: [create(2, b"new", (&[12], &[0; 4]))] => Status::AttrNotSupp;
    create_with_an_owner: [create(2, b"new", (&[36], &text("7")))] => OK;
    create_with_a_name_as_owner: [create(2, b"new", (&[36], &text("root")))] => Status::BadOwner;
    getattr_of_everything_supported: [getattr(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 16, 17, 18, 19, 20, 26, 27,
        28, 29, 30, 31, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 47, 50, 51, 52, 53, 55, 75])] => OK;
    getattr_of_nothing: [getattr(&[])] => OK;
    getattr_of_what_can_only_be_set: [getattr(&[48])] => Status::Inval;
    getattr_of_unsupported: [getattr(&[12, 14, 21, 24, 40])] => OK;
    getattr_with_half_a_bitmap: [words(9, &[3, 0])] => Status::BadXdr;
    link_a_file: [lookup(b"f"), savefh(), putrootfh(), link(b"new")] => OK;
    link_to_a_taken_name: [lookup(b"f"), savefh(), putrootfh(), link(b"d")] => Status::Exist;
    link_a_directory: [lookup(b"d"), savefh(), putrootfh(), link(b"new")] => Status::IsDir;
    link_without_a_saved_handle: [link(b"new")] => Status::NoFileHandle;
    link_into_a_file: [savefh(), lookup(b"f"), link(b"new")] => Status::NotDir;
    link_with_a_bad_name: [lookup(b"f"), savefh(), putrootfh(), link(b"a/b")] => Status::BadChar;
    lookup_a_file: [lookup(b"f")] => OK;
    lookup_nothing: [lookup(b"missing")] => Status::NoEnt;
    lookup_without_a_name: [lookup(b"")] => Status::Inval;
    lookup_dot: [lookup(b".")] => Status::BadName;
    lookup_dot_dot: [lookup(b"..")] => Status::BadName;
    lookup_in_a_file: [lookup(b"f"), lookup(b"x")] => Status::NotDir;
    lookup_in_a_symlink: [lookup(b"s"), lookup(b"x")] => Status::Symlink;
    lookup_too_long_a_name: [lookup(LONG)] => Status::NameTooLong;
    lookup_with_a_slash: [lookup(b"d/x")] => Status::BadChar;
    lookup_what_is_not_utf_8: [lookup(b"\xff")] => Status::NoEnt;
    lookupp_at_the_root: [lookupp()] => Status::NoEnt;
    lookupp_in_a_directory: [lookup(b"d"), lookupp(), lookup(b"f")] => OK;
    lookupp_of_a_file: [lookup(b"f"), lookupp()] => Status::NotDir;
    openattr: [words(19, &[0])] => Status::NotSupp;
    putfh_with_junk: [putfh(b"junk")] => Status::BadHandle;
    putfh_with_nothing: [putfh(b"")] => Status::BadHandle;
    putfh_of_another_server: [putfh(&[7; 28])] => Status::Stale;
    putfh_with_too_long_a_handle: [putfh(&[7; 129])] => Status::BadXdr;
    putpubfh: [words(23, &[]), lookup(b"f")] => OK;
    read_a_directory: [read(ANONYMOUS, 0, 1)] => Status::IsDir;
    read_a_symlink: [lookup(b"s"), read(ANONYMOUS, 0, 1)] => Status::Symlink;
    read_a_fifo: [lookup(b"p"), read(ANONYMOUS, 0, 1)] => Status::WrongType;
    read_a_file: [lookup(b"f"), read(ANONYMOUS, 0, 100)] => OK;
    read_with_the_bypass_stateid: [lookup(b"f"), read([0xff; 16], 0, 100)] => OK;
    read_past_the_end: [lookup(b"f"), read(ANONYMOUS, MAX, 100)] => OK;
    read_nothing: [lookup(b"f"), read(ANONYMOUS, 0, 0)] => OK;
    read_with_an_unknown_stateid: [lookup(b"f"), read([9; 16], 0, 1)] => Status::BadStateId;
    read_with_half_a_special_stateid: [lookup(b"f"), read([0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, 1)] => Status::BadStateId;
    read_with_no_current_stateid: [lookup(b"f"), read(CURRENT, 0, 1)] => Status::BadStateId;
    read_with_the_invalid_stateid: [lookup(b"f"), read([255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, 1)] => Status::BadStateId;
    readdir_of_the_root: [readdir(0, 0, 8192)] => OK;
    readdir_of_a_file: [lookup(b"f"), readdir(0, 0, 8192)] => Status::NotDir;
    readdir_of_a_symlink: [lookup(b"s"), readdir(0, 0, 8192)] => Status::NotDir;
    readdir_with_no_room: [readdir(0, 0, 30)] => Status::TooSmall;
    readdir_of_an_empty_directory_in_little_room: [lookup(b"d"), readdir(0, 0, 30)] => OK;
    readdir_from_a_reserved_cookie: [readdir(1, 0, 8192)] => Status::BadCookie;
    readdir_from_the_other_reserved_cookie: [readdir(2, 0, 8192)] => Status::BadCookie;
    readdir_with_a_foreign_verifier: [readdir(5, 77, 8192)] => Status::NotSame;
    readdir_behind_the_last_entry: [readdir(MAX, 0, 8192)] => OK;
    readlink_of_a_symlink: [lookup(b"s"), readlink()] => OK;
    readlink_of_a_file: [lookup(b"f"), readlink()] => Status::WrongType;
    readlink_of_a_directory: [readlink()] => Status::WrongType;
    remove_a_file: [remove(b"f")] => OK;
    remove_nothing: [remove(b"missing")] => Status::NoEnt;
    remove_an_empty_directory: [remove(b"d")] => OK;
    remove_a_full_directory: [remove(b"full")] => Status::NotEmpty;
    remove_dot: [remove(b".")] => Status::BadName;
    remove_in_a_file: [lookup(b"f"), remove(b"x")] => Status::NotDir;
    remove_without_a_name: [remove(b"")] => Status::Inval;
    rename_a_file: [savefh(), rename(b"f", b"new")] => OK;
    rename_over_a_file: [savefh(), rename(b"f", b"private")] => OK;
    rename_over_a_directory: [savefh(), rename(b"f", b"d")] => Status::IsDir;
    rename_a_directory_over_a_file: [savefh(), rename(b"d", b"f")] => Status::NotDir;
    rename_a_directory_over_an_empty_one: [savefh(), rename(b"full", b"d")] => OK;
    rename_a_directory_over_a_full_one: [savefh(), rename(b"d", b"full")] => Status::NotEmpty;
    rename_into_itself: [savefh(), lookup(b"d"), rename(b"d", b"new")] => Status::Inval;
    rename_to_itself: [savefh(), rename(b"f", b"f")] => OK;
    rename_nothing: [savefh(), rename(b"missing", b"new")] => Status::NoEnt;
    rename_without_a_saved_handle: [rename(b"f", b"new")] => Status::NoFileHandle;
    rename_from_a_file: [lookup(b"f"), savefh(), putrootfh(), rename(b"x", b"new")] => Status::NotDir;
    rename_into_a_file: [savefh(), lookup(b"f"), rename(b"f", b"new")] => Status::NotDir;
    rename_dot_dot: [savefh(), rename(b"..", b"new")] => Status::BadName;
    rename_to_too_long_a_name: [savefh(), rename(b"f", LONG)] => Status::NameTooLong;
    restorefh_of_nothing: [restorefh()] => Status::NoFileHandle;
    restorefh_of_what_was_saved: [savefh(), lookup(b"f"), restorefh(), lookup(b"d")] => OK;
    secinfo_of_a_file: [secinfo(b"f")] => OK;
    secinfo_of_nothing: [secinfo(b"missing")] => Status::NoEnt;
    secinfo_in_a_file: [lookup(b"f"), secinfo(b"x")] => Status::NotDir;
    secinfo_uses_up_the_file: [secinfo(b"f"), getfh()] => Status::NoFileHandle;
    secinfo_no_name: [words(52, &[0])] => OK;
    secinfo_no_name_of_a_parent: [lookup(b"d"), words(52, &[1])] => OK;
    secinfo_no_name_of_the_root_s_parent: [words(52, &[1])] => Status::NoEnt;
    secinfo_no_name_of_another_style: [words(52, &[2])] => Status::BadXdr;
    secinfo_no_name_uses_up_the_file: [words(52, &[0]), getfh()] => Status::NoFileHandle;
    setattr_of_a_mode: [lookup(b"f"), setattr(ANONYMOUS, (&[33], &mode(0o600)))] => OK;
    setattr_of_a_mode_with_a_type: [lookup(b"f"), setattr(ANONYMOUS, (&[33], &mode(0o100_600)))] => Status::Inval;
    setattr_of_a_size: [lookup(b"f"), setattr(ANONYMOUS, (&[4], &5u64.to_be_bytes()))] => OK;
    setattr_of_too_great_a_size: [lookup(b"f"), setattr(ANONYMOUS, (&[4], &MAX.to_be_bytes()))] => Status::FBig;
    setattr_of_a_directory_s_size: [setattr(ANONYMOUS, (&[4], &[0; 8]))] => Status::IsDir;
    setattr_of_a_symlink_s_size: [lookup(b"s"), setattr(ANONYMOUS, (&[4], &[0; 8]))] => Status::Inval;
    setattr_of_a_size_with_an_unknown_stateid: [lookup(b"f"), setattr([9; 16], (&[4], &[0; 8]))] => Status::BadStateId;
    setattr_of_an_owner: [lookup(b"f"), setattr(ANONYMOUS, (&[36, 37], &[text("5"), text("6")].concat()))] => OK;
    setattr_of_an_owner_by_name: [lookup(b"f"), setattr(ANONYMOUS, (&[36], &text("nobody@localdomain")))] => Status::BadOwner;
    setattr_of_an_empty_owner: [lookup(b"f"), setattr(ANONYMOUS, (&[36], &text("")))] => Status::Inval;
    setattr_of_a_read_only_attribute: [lookup(b"f"), setattr(ANONYMOUS, (&[20], &[0; 8]))] => Status::Inval;
    setattr_of_an_acl: [lookup(b"f"), setattr(ANONYMOUS, (&[12], &[0; 4]))] => Status::AttrNotSupp;
    setattr_of_archive: [lookup(b"f"), setattr(ANONYMOUS, (&[14], &[0; 4]))] => Status::AttrNotSupp;
    setattr_of_hidden: [lookup(b"f"), setattr(ANONYMOUS, (&[25], &[0; 4]))] => Status::AttrNotSupp;
    setattr_of_mimetype: [lookup(b"f"), setattr(ANONYMOUS, (&[32], &text("text/plain")))] => Status::AttrNotSupp;
    setattr_of_quota: [lookup(b"f"), setattr(ANONYMOUS, (&[38], &[0; 8]))] => Status::AttrNotSupp;
    setattr_of_backup_time: [lookup(b"f"), setattr(ANONYMOUS, (&[49], &[0; 12]))] => Status::AttrNotSupp;
    setattr_of_nothing: [lookup(b"f"), setattr(ANONYMOUS, (&[], &[]))] => OK;
    setattr_with_too_few_values: [lookup(b"f"), setattr(ANONYMOUS, (&[33], &[]))] => Status::BadXdr;
    setattr_with_too_many_values: [lookup(b"f"), setattr(ANONYMOUS, (&[33], &[0; 8]))] => Status::BadXdr;
    setattr_of_the_server_s_time: [lookup(b"f"), setattr(ANONYMOUS, (&[48, 54], &[0; 8]))] => OK;
    setattr_of_an_impossible_time: [lookup(b"f"), setattr(ANONYMOUS, (&[54], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0]))] => Status::Inval;
    setattr_of_an_unknown_kind_of_time: [lookup(b"f"), setattr(ANONYMOUS, (&[54], &[0, 0, 0, 3]))] => Status::BadXdr;
    verify_of_what_is_so: [lookup(b"f"), verify((&[33], &mode(0o644)))] => OK;
    verify_of_what_is_not_so: [lookup(b"f"), verify((&[33], &mode(0o600)))] => Status::NotSame;
    verify_of_an_unsupported_attribute: [verify((&[12], &[0; 4]))] => Status::AttrNotSupp;
    verify_of_what_can_only_be_set: [verify((&[48], &[0; 4]))] => Status::Inval;
    verify_of_rdattr_error: [verify((&[11], &[0; 4]))] => Status::Inval;
    nverify_of_what_is_so: [lookup(b"f"), nverify((&[33], &mode(0o644)))] => Status::Same;
    nverify_of_what_is_not_so: [lookup(b"f"), nverify((&[33], &mode(0o600)))] => OK;
    write_a_file: [lookup(b"f"), write(ANONYMOUS, 0, 2, b"data")] => OK;
    write_nothing: [lookup(b"f"), write(ANONYMOUS, 99, 0, b"")] => OK;
    write_a_directory: [write(ANONYMOUS, 0, 0, b"x")] => Status::IsDir;
    write_a_symlink: [lookup(b"s"), write(ANONYMOUS, 0, 0, b"x")] => Status::Symlink;
    write_a_socket: [lookup(b"k"), write(ANONYMOUS, 0, 0, b"x")] => Status::WrongType;
    write_beyond_the_largest_size: [lookup(b"f"), write(ANONYMOUS, MAX - 10, 0, b"x")] => Status::FBig;
    write_with_an_unknown_stability: [lookup(b"f"), write(ANONYMOUS, 0, 3, b"x")] => Status::BadXdr;
    write_with_an_unknown_stateid: [lookup(b"f"), write([9; 16], 0, 0, b"x")] => Status::BadStateId;
    backchannel_ctl: [words(40, &[0, 0])] => Status::NotSupp;
    delegpurge: [words(7, &[0, 0])] => Status::NotSupp;
    delegreturn: [words(8, &[0, 0, 0, 0])] => Status::BadStateId;
    delegreturn_of_an_earlier_life_s: [words(8, &[9, 9, 9, 9])] => Status::BadStateId;
    open_that_would_like_a_delegation: [Open { access: 0x0003_0103, ..plain_open(0, b"f") }.encode()] => OK;
    open_that_would_like_none: [Open { access: 0x0401, ..plain_open(0, b"f") }.encode()] => OK;
    open_that_would_like_something_unknown: [Open { access: 0x0601, ..plain_open(0, b"f") }.encode()] => Status::Inval;
    open_with_an_unknown_bit: [Open { access: 0x0010_0001, ..plain_open(0, b"f") }.encode()] => Status::Inval;
    getattr_beyond_all_numbers: [words(9, &[6, 0, 0, 0, 0, 0, 4])] => OK;
    verify_beyond_all_numbers: [words(37, &[6, 0, 0, 0, 0, 0, 4, 0])] => Status::AttrNotSupp;
    setattr_beyond_all_numbers: [words(34, &[0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 4, 0])] => Status::AttrNotSupp;
    get_dir_delegation: [words(46, &[0; 12])] => Status::NotSupp;
    getdeviceinfo: [words(47, &[0; 8])] => Status::NotSupp;
    getdevicelist: [words(48, &[0; 8])] => Status::NotSupp;
    layoutcommit: [words(49, &[0; 8])] => Status::NotSupp;
    layoutget: [words(50, &[0; 8])] => Status::NotSupp;
    layoutreturn: [words(51, &[0; 8])] => Status::NotSupp;
    set_ssv: [words(54, &[0; 4])] => Status::NotSupp;
    want_delegation: [words(56, &[0; 4])] => Status::NotSupp;
    setclientid_belongs_to_4_0: [setclientid("x", 1)] => Status::NotSupp;
    setclientid_confirm_belongs_to_4_0: [setclientid_confirm(1, 1)] => Status::NotSupp;
    renew_belongs_to_4_0: [words(30, &[0, 0])] => Status::NotSupp;
    open_confirm_belongs_to_4_0: [stateid_op(20, [0; 16], 0)] => Status::NotSupp;
    release_lockowner_belongs_to_4_0: [words(39, &[0, 0, 0])] => Status::NotSupp;
    reclaim_complete_twice: [reclaim_complete()] => Status::CompleteAlready;
    reclaim_complete_of_one_file_system: [words(58, &[1]), words(58, &[1])] => OK;
    free_an_unknown_stateid: [free_stateid([9; 16])] => Status::BadStateId;
    test_unknown_stateids: [test_stateid(&[[9; 16], [0; 16]])] => OK;
    test_more_stateids_than_are_there: [words(55, &[1000, 0, 0])] => Status::BadXdr;
}

cases! { 1000:
    user_reads_what_all_may_read: [lookup(b"f"), read(ANONYMOUS, 0, 1)] => OK;
    user_reads_what_is_private: [lookup(b"private"), read(ANONYMOUS, 0, 1)] => Status::Access;
    user_reads_what_is_executable: [lookup(b"exec"), read(ANONYMOUS, 0, 1)] => OK;
    user_writes_what_all_may_read: [lookup(b"f"), write(ANONYMOUS, 0, 0, b"x")] => Status::Access;
    user_writes_its_own: [lookup(b"mine"), write(ANONYMOUS, 0, 0, b"x")] => OK;
    user_makes_a_directory_in_the_root: [mkdir(b"new")] => Status::Access;
    user_makes_a_directory_where_it_may: [lookup(b"full"), mkdir(b"new")] => OK;
    user_looks_into_a_closed_directory: [lookup(b"closed"), lookup(b"x")] => Status::Access;
    user_lists_a_closed_directory: [lookup(b"closed"), readdir(0, 0, 8192)] => Status::Access;
    user_asks_for_security_in_a_closed_directory: [lookup(b"closed"), secinfo(b"x")] => Status::Access;
    user_removes_from_the_root: [remove(b"f")] => Status::Access;
    user_removes_from_an_open_directory: [lookup(b"full"), remove(b"x")] => OK;
    user_removes_its_own_from_a_sticky_directory: [lookup(b"sticky"), remove(b"mine")] => OK;
    user_removes_another_s_from_a_sticky_directory: [lookup(b"sticky"), remove(b"theirs")] => Status::Perm;
    user_renames_another_s_in_a_sticky_directory: [lookup(b"sticky"), savefh(), rename(b"theirs", b"new")] => Status::Perm;
    user_renames_over_another_s_in_a_sticky_directory: [lookup(b"sticky"), savefh(), rename(b"mine", b"theirs")] => Status::Perm;
    user_renames_its_own_in_a_sticky_directory: [lookup(b"sticky"), savefh(), rename(b"mine", b"new")] => OK;
    user_links_into_the_root: [lookup(b"mine"), savefh(), putrootfh(), link(b"new")] => Status::Access;
    user_changes_another_s_mode: [lookup(b"f"), setattr(ANONYMOUS, (&[33], &mode(0o666)))] => Status::Perm;
    user_changes_its_own_mode: [lookup(b"mine"), setattr(ANONYMOUS, (&[33], &mode(0o666)))] => OK;
    user_gives_its_file_away: [lookup(b"mine"), setattr(ANONYMOUS, (&[36], &text("5")))] => Status::Perm;
    user_gives_its_file_to_itself: [lookup(b"mine"), setattr(ANONYMOUS, (&[36], &text("1000")))] => OK;
    user_gives_its_file_to_its_group: [lookup(b"mine"), setattr(ANONYMOUS, (&[37], &text("1000")))] => OK;
    user_gives_its_file_to_another_group: [lookup(b"mine"), setattr(ANONYMOUS, (&[37], &text("5")))] => Status::Perm;
    user_cuts_another_s_file: [lookup(b"f"), setattr(ANONYMOUS, (&[4], &[0; 8]))] => Status::Access;
    user_touches_another_s_file: [lookup(b"f"), setattr(ANONYMOUS, (&[54], &[0; 4]))] => Status::Access;
    user_dates_another_s_file: [lookup(b"f"), setattr(ANONYMOUS, (&[54], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))] => Status::Perm;
    user_dates_its_own_file: [lookup(b"mine"), setattr(ANONYMOUS, (&[54], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))] => OK;
    user_makes_a_directory_for_another: [lookup(b"full"), create(2, b"new", (&[36], &text("5")))] => Status::Perm;
}

#[test]
fn operations_on_nothing_need_a_file_handle() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let ops = [
        access(1),
        commit(0, 0),
        mkdir(b"x"),
        getattr(&[1]),
        getfh(),
        savefh(),
        lookup(b"x"),
        lookupp(),
        open(client, b"o", 1, b"x"),
        read(ANONYMOUS, 0, 1),
        readdir(0, 0, 100),
        readlink(),
        remove(b"x"),
        secinfo(b"x"),
        words(52, &[0]),
        setattr(ANONYMOUS, (&[33], &mode(0o600))),
        verify((&[33], &mode(0o600))),
        nverify((&[33], &mode(0o600))),
        write(ANONYMOUS, 0, 0, b"x"),
        close([9; 16], 0),
        downgrade([9; 16], 1, 0),
        lock(1, 0, 1, [9; 16], client, b"o"),
        lockt(1, 0, 1, client, b"o"),
        locku(0, 1, [9; 16]),
        words(58, &[1]),
        words(8, &[0, 0, 0, 0]),
    ];
    for op in ops {
        let number = op[3];
        assert_eq!(wire.run(&[op]).status, Status::NoFileHandle as u32, "operation {number}");
    }
}

#[test]
fn every_operation_with_cut_arguments_is_malformed() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let ops = [
        access(1),
        close([0; 16], 0),
        commit(0, 0),
        mkdir(b"name"),
        symlink(b"name", b"target"),
        getattr(&[1]),
        link(b"name"),
        lock(1, 0, 1, [9; 16], client, b"owner"),
        lock_more(1, 0, 0, 1, [9; 16]),
        lockt(1, 0, 1, client, b"owner"),
        locku(0, 1, [9; 16]),
        lookup(b"name"),
        nverify((&[33], &mode(0o600))),
        open(client, b"owner", 1, b"name"),
        open_create(client, 0, (&[33], &mode(0o600)), b"name"),
        downgrade([9; 16], 1, 0),
        putfh(&[0; 28]),
        read(ANONYMOUS, 0, 1),
        readdir(0, 0, 100),
        remove(b"name"),
        rename(b"from", b"to"),
        secinfo(b"name"),
        setattr(ANONYMOUS, (&[33], &mode(0o600))),
        verify((&[33], &mode(0o600))),
        write(ANONYMOUS, 0, 0, b"data"),
        words(8, &[9; 4]),
        free_stateid([9; 16]),
        test_stateid(&[[9; 16]]),
        words(52, &[0]),
        reclaim_complete(),
    ];
    for op in ops {
        let number = op[3];
        for cut in (4..op.len()).step_by(4) {
            let reply = wire.run(&[putrootfh(), op[..cut].to_vec()]);
            assert_eq!(reply.status, Status::BadXdr as u32, "operation {number} cut at {cut}");
        }
    }
}
