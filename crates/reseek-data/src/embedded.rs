//! The corpus that is compiled in: see corpus/README.md for what it is, where it is from and under which licences.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::corpus::Document;

/// JSON lines of documents, compressed with gzip.
const FILES: [&[u8]; 3] = [
    include_bytes!("../../../corpus/english.jsonl.gz"),
    include_bytes!("../../../corpus/technical.jsonl.gz"),
    include_bytes!("../../../corpus/chinese.jsonl.gz"),
];

/// All documents, in the order of the files. They were cleaned when the files were made.
///
/// # Panics
/// If the files were damaged before they were compiled in; the tests read them.
pub(crate) fn documents() -> Vec<Document> {
    let mut documents = Vec::new();
    for file in FILES {
        let mut lines = String::new();
        GzDecoder::new(file).read_to_string(&mut lines).expect("the embedded corpus unpacks");
        let parse = |line| serde_json::from_str::<Document>(line).expect("an embedded line is a document");
        documents.extend(lines.lines().map(parse));
    }
    documents
}
