//! A zip archive (PKWARE APPNOTE 4.3) of a few deflated files.

use std::io::Read;

use flate2::bufread::DeflateEncoder;
use flate2::{Compression, Crc};

pub(crate) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for (name, bytes) in files {
        let mut packed = Vec::new();
        DeflateEncoder::new(*bytes, Compression::default()).read_to_end(&mut packed).unwrap();
        let mut crc = Crc::new();
        crc.update(bytes);
        let mut common = Vec::new();
        // Version 2.0, no flags, deflated, 1980-01-01.
        for field in [20u16, 0, 8, 0, 0x21] {
            common.extend(field.to_le_bytes());
        }
        for field in [crc.sum(), packed.len() as u32, bytes.len() as u32] {
            common.extend(field.to_le_bytes());
        }
        for field in [name.len() as u16, 0] {
            common.extend(field.to_le_bytes());
        }
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        // No comment, disk 0, no attributes, and where the file begins.
        directory.extend([0; 6]);
        directory.extend((0o100_644u32 << 16).to_le_bytes());
        directory.extend((archive.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(packed);
    }
    let start = archive.len() as u32;
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    for field in [files.len() as u16, files.len() as u16] {
        archive.extend(field.to_le_bytes());
    }
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0; 2]);
    archive
}
