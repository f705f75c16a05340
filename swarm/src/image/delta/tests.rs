use std::io::{self, Cursor, Write};

use archy_registry::release::{Delta, Tar};
use archy_registry::{Blake3Hash, OciDigest};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::format::Segment;
use super::*;

const MIB: usize = 1024 * 1024;

fn digest(bytes: &[u8]) -> OciDigest {
    OciDigest::from_sha256(Sha256::digest(bytes).into())
}

/// Bytes that never repeat.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// A tar of files of 40 KB; of every file there is the content and a number that makes it another one.
fn tar(files: &[(usize, u64)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, seed) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(40_000);
        let data = noise(40_000, *seed);
        let name = format!("usr/lib/{name}");
        builder.append_data(&mut header, name, &data[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn made(old: &[u8], new: &[u8]) -> (Delta, Vec<u8>) {
    let mut patch = Vec::new();
    let delta = make(Cursor::new(old), new, u64::MAX, &mut patch).unwrap();
    (delta, patch)
}

/// Counts what is written and keeps nothing of it.
#[derive(Default)]
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn fault(old: &[u8], patch: &[u8], delta: &Delta) -> Fault {
    let mut count = Count::default();
    let error = apply(old, patch, delta, &mut count).unwrap_err();
    assert!(count.0 <= delta.tar.size_bytes, "{error}");
    match error {
        ApplyError::Fault(fault) => fault,
        ApplyError::Base(_) | ApplyError::Read(_) | ApplyError::Write(_) => panic!("{error}"),
    }
}

#[test]
fn a_patch_makes_exactly_the_newer_tar() {
    let old: Vec<(usize, u64)> = (0..500).map(|n| (n, n as u64)).collect();
    let mut new = old.clone();
    for n in [7, 250, 499] {
        new[n].1 += 1000;
    }
    new.insert(100, (5000, 5000));
    new.remove(300);
    let (old, new) = (tar(&old), tar(&new));
    let (delta, patch) = made(&old, &new);
    assert_eq!((delta.from, delta.to), (digest(&old), digest(&new)));
    assert_eq!(delta.blake3, Blake3Hash::of(&patch));
    assert_eq!(delta.size_bytes, patch.len() as u64);
    let whole = Tar {
        blake3: Blake3Hash::of(&new),
        size_bytes: new.len() as u64,
    };
    assert_eq!(delta.tar, whole);
    // Four files of noise are new, each of 40 KB.
    assert!(patch.len() < 170_000, "{} bytes", patch.len());

    let mut tar = Vec::new();
    apply(&old[..], &patch[..], &delta, &mut tar).unwrap();
    assert!(tar == new);
}

#[test]
fn layers_larger_than_a_segment_are_patched_piece_by_piece() {
    let old = noise(110 * MIB, 1);
    // Something new in front moves all the rest, and a piece is cut out behind.
    let mut new = noise(40 * MIB, 2);
    new.extend_from_slice(&old[..60 * MIB]);
    new.extend_from_slice(&old[64 * MIB..]);
    let (delta, patch) = made(&old, &new);
    let megabytes = patch.len() / 1_000_000;
    assert!((41..45).contains(&megabytes), "{} bytes", patch.len());
    let mut tar = Vec::new();
    apply(&old[..], &patch[..], &delta, &mut tar).unwrap();
    assert!(tar == new);
}

#[test]
fn a_patch_that_is_not_worth_it_is_given_up() {
    let (old, new) = (noise(100_000, 1), noise(100_000, 2));
    let error = make(Cursor::new(&old), &new[..], 80_000, Count::default()).unwrap_err();
    assert!(
        matches!(
            error,
            MakeError::TooLong {
                size_bytes_max: 80_000
            }
        ),
        "{error}"
    );
    let error = make(Cursor::new(&old), io::empty(), 80_000, Count::default()).unwrap_err();
    assert!(matches!(error, MakeError::Empty), "{error}");
    // From nothing, it is the newer tar, compressed.
    let (delta, patch) = made(b"", &new);
    apply(io::empty(), &patch[..], &delta, Count::default()).unwrap();
}

/// A patch put together by hand: segments with what their headers say, and their frames.
fn patch(segments: &[(std::ops::Range<u64>, usize, Vec<u8>)]) -> Vec<u8> {
    let mut patch = Vec::new();
    for (base, size_bytes, frame) in segments {
        let segment = Segment {
            base: base.clone(),
            size_bytes: *size_bytes,
        };
        segment.write(&mut patch).unwrap();
        patch.extend_from_slice(frame);
    }
    patch
}

fn frame(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

/// A frame of zeroes that needs a window of this size, because it does not say how long it is.
fn zeroes(len: usize, window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.include_contentsize(false).unwrap();
    io::copy(&mut io::Read::take(io::repeat(0), len as u64), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// Says that a patch makes `new`.
fn claim(new: &[u8], size_bytes: u64) -> Delta {
    Delta {
        from: digest(b"old"),
        to: digest(new),
        blake3: Blake3Hash::of(b""),
        size_bytes: 0,
        tar: Tar {
            blake3: Blake3Hash::of(new),
            size_bytes,
        },
    }
}

#[test]
fn hostile_patches_are_told_and_never_make_more_than_was_signed() {
    let new = b"some tar or other";
    let len = new.len();
    let good = claim(new, len as u64);
    let well = patch(&[(0..3, len, frame(new))]);
    apply(&b"old"[..], &well[..], &good, Count::default()).unwrap();

    let bomb = zeroes(256 * MIB, 20);
    assert!(bomb.len() < MIB);
    let long = || frame(&[0; 100]);
    let legacy = [&0xFD2F_B527_u32.to_le_bytes()[..], &[0; 100]].concat();
    let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &[0; 4]].concat();
    let cases: Vec<(&str, Vec<u8>, Fault)> = vec![
        ("nothing", vec![], Fault::CutOff),
        ("no segment", frame(new), Fault::Segment),
        (
            "the earlier standard",
            patch(&[(0..3, len, legacy)]),
            Fault::Segment,
        ),
        (
            "nothing but a frame to skip",
            patch(&[(0..3, len, skippable)]),
            Fault::Segment,
        ),
        ("a bomb", patch(&[(0..3, len, bomb)]), Fault::Length),
        (
            "more than was signed",
            patch(&[(0..3, 100, long())]),
            Fault::TooLong {
                size_bytes_max: len as u64,
            },
        ),
        (
            "more than was signed, bit by bit",
            patch(&[(0..3, 10, frame(&new[..10])), (0..3, 10, frame(&new[..10]))]),
            Fault::TooLong {
                size_bytes_max: len as u64,
            },
        ),
        (
            "less than it says",
            patch(&[(0..3, len, frame(&new[1..]))]),
            Fault::Length,
        ),
        (
            "an empty frame",
            patch(&[(0..3, len, frame(b""))]),
            Fault::Length,
        ),
        (
            "back in the base",
            patch(&[
                (2..3, 10, frame(&new[..10])),
                (1..3, len - 10, frame(&new[10..])),
            ]),
            Fault::Backwards,
        ),
        (
            "beyond the base",
            patch(&[(0..4, len, frame(new))]),
            Fault::BeyondBase,
        ),
        (
            "behind the base",
            patch(&[(9..10, len, frame(new))]),
            Fault::BeyondBase,
        ),
        (
            "far behind the base",
            patch(&[(u64::MAX - 9..u64::MAX, len, frame(new))]),
            Fault::BeyondBase,
        ),
        (
            "something behind",
            [&well[..], b"x"].concat(),
            Fault::Trailing,
        ),
        (
            "another tar",
            patch(&[(0..3, len, frame(b"some tar or else!"))]),
            Fault::Other(digest(b"some tar or else!")),
        ),
        (
            "a segment of nothing",
            patch(&[(0..0, 0, frame(b""))]),
            Fault::Segment,
        ),
        (
            "a segment without end",
            patch(&[(0..3, SEGMENT_BYTES_MAX + 1, frame(new))]),
            Fault::Segment,
        ),
        (
            "a base without end",
            patch(&[(0..BASE_BYTES_MAX as u64 + 1, len, frame(new))]),
            Fault::Segment,
        ),
    ];
    for (case, patch, expected) in cases {
        assert_eq!(fault(b"old", &patch, &good), expected, "{case}");
    }
}

#[test]
fn a_window_larger_than_a_segment_is_refused() {
    let zeros = vec![0; 100];
    let good = claim(&zeros, 100);
    let largest = SEGMENT_BYTES_MAX.ilog2();
    let fits = patch(&[(0..0, 100, zeroes(100, largest))]);
    apply(io::empty(), &fits[..], &good, Count::default()).unwrap();
    let larger = patch(&[(0..0, 100, zeroes(100, largest + 1))]);
    let refused = fault(b"", &larger, &good);
    assert!(
        matches!(&refused, Fault::Unpack(why) if why.contains("memory")),
        "{refused}"
    );
}

#[test]
fn a_patch_that_is_cut_off_anywhere_is_told() {
    let old = tar(&[(1, 1), (2, 2)]);
    let new = tar(&[(1, 1), (2, 3)]);
    let (delta, patch) = made(&old, &new);
    for len in (0..patch.len()).step_by(97) {
        let told = fault(&old, &patch[..len], &delta);
        assert_eq!(told, Fault::CutOff, "after {len} bytes");
    }
}

#[test]
fn a_patch_of_another_base_makes_another_tar() {
    let old = tar(&[(1, 1), (2, 2)]);
    let (delta, patch) = made(&old, &tar(&[(1, 1), (2, 3)]));
    let other = tar(&[(1, 9), (2, 2)]);
    let told = fault(&other, &patch, &delta);
    assert!(matches!(told, Fault::Other(_) | Fault::Unpack(_)), "{told}");
    assert_eq!(fault(&old[..50_000], &patch, &delta), Fault::BeyondBase);
}

#[test]
fn a_disk_that_fails_or_too_little_memory_is_not_the_publishers_fault() {
    /// Fails as a disk does.
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(28))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let old = tar(&[(1, 1)]);
    let (delta, patch) = made(&old, &tar(&[(1, 2)]));
    let base = apply(Broken, &patch[..], &delta, Count::default());
    assert!(matches!(base, Err(ApplyError::Base(_))));
    let out = apply(&old[..], &patch[..], &delta, Broken);
    assert!(matches!(out, Err(ApplyError::Write(_))));
    for good_bytes in [0, 10, 30, patch.len() / 2] {
        let half = io::BufReader::new(io::Read::chain(&patch[..good_bytes], Broken));
        let read = apply(&old[..], half, &delta, Count::default());
        assert!(
            matches!(read, Err(ApplyError::Read(_))),
            "{good_bytes}: {read:?}"
        );
    }

    /// Fails as a decoder does that gets no memory.
    struct Starved;
    impl io::Read for Starved {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("Allocation error : not enough memory"))
        }
    }
    let starved = io::BufReader::new(io::Read::chain(&patch[..30], Starved));
    let read = apply(&old[..], starved, &delta, Count::default());
    assert!(matches!(read, Err(ApplyError::Read(_))), "{read:?}");
}

#[test]
fn what_a_delta_makes_is_the_same_every_time() {
    let old = tar(&[(1, 1), (2, 2), (3, 3)]);
    let new = tar(&[(1, 1), (3, 3), (4, 4)]);
    assert_eq!(made(&old, &new), made(&old, &new));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_two_tars_have_a_patch(
        old in proptest::collection::vec(any::<u8>(), 0..5000),
        cut in 0..5000usize,
        more in proptest::collection::vec(any::<u8>(), 1..5000),
    ) {
        let mut new = old[cut.min(old.len())..].to_vec();
        new.extend_from_slice(&more);
        let (delta, patch) = made(&old, &new);
        let mut tar = Vec::new();
        apply(&old[..], &patch[..], &delta, &mut tar).unwrap();
        prop_assert_eq!(tar, new);
    }

    #[test]
    fn a_patch_with_any_other_bytes_makes_the_signed_tar_or_nothing(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let old = [&[1; 3000][..], &noise(2000, 1)].concat();
        let new = [&noise(2000, 1)[..], &[1; 2500], &noise(100, 2)].concat();
        let (delta, mut patch) = made(&old, &new);
        for (at, byte) in changes {
            let at = at.index(patch.len());
            patch[at] ^= byte;
        }
        let (head, tail) = patch.split_at(cut.index(patch.len()));
        let patch = [head, &tail[tail.len().min(1)..]].concat();
        let mut tar = Vec::new();
        if apply(&old[..], &patch[..], &delta, &mut tar).is_ok() {
            prop_assert_eq!(&tar, &new);
        }
        prop_assert!(tar.len() <= new.len());
    }
}
