//! Files that are of no use.

use crate::tls::testing::{Folder, load};

use super::{Files, LoadError};

#[test]
fn what_is_no_use_is_named() {
    let folder = Folder::new("no-use");
    let files = folder.files();
    let missing = folder.0.join("missing.pem");
    let ca = folder.0.join("ca.pem");
    let fault = |files: Files| load(&files).unwrap_err();
    for (error, field) in [
        (fault(Files { certificate: missing.clone(), ..files.clone() }), "certificate"),
        (fault(Files { certificate: files.private_key.clone(), ..files.clone() }), "certificate"),
        (fault(Files { private_key: missing.clone(), ..files.clone() }), "private_key"),
        (fault(Files { private_key: ca, ..files.clone() }), "private_key"),
        (fault(Files { client_ca: Some(missing), ..files.clone() }), "client_ca"),
        (fault(Files { client_ca: Some(files.private_key.clone()), ..files.clone() }), "client_ca"),
    ] {
        assert!(matches!(error, LoadError::File { .. }));
        assert!(error.to_string().starts_with(field), "{error}");
    }
    let other = Files { private_key: folder.0.join("client.key"), ..files };
    let error = fault(other);
    assert!(matches!(error, LoadError::Pair { .. }), "{error}");
}
