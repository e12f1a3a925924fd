//! What calls bring along in secret is in no log.

use csi_proto::csi;
use csi_proto::csi::volume_capability::access_mode::Mode;
use efs_csi_driver::rpc::STRIPPED;

use crate::log;
use crate::support::{Bed, capability, request};

#[tokio::test]
async fn every_call_with_secrets_is_logged_without_them() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    log::collect();
    let secrets = || [("externalId".to_owned(), "hide-this".to_owned())].into();
    let mut csi = bed.csi.clone();
    let create = csi::CreateVolumeRequest { secrets: secrets(), ..request("pvc-with-secrets", &fs, &[]) };
    let volume_id = csi.create_volume(create).await.unwrap().into_inner().volume.unwrap().volume_id;
    let validate = csi::ValidateVolumeCapabilitiesRequest {
        volume_id: volume_id.clone(),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter)],
        secrets: secrets(),
        ..Default::default()
    };
    csi.validate_volume_capabilities(validate).await.unwrap();
    let expand = csi::ControllerExpandVolumeRequest {
        volume_id: volume_id.clone(),
        capacity_range: Some(csi::CapacityRange { required_bytes: 2 << 30, limit_bytes: 0 }),
        secrets: secrets(),
        ..Default::default()
    };
    csi.controller_expand_volume(expand).await.unwrap();
    let modify =
        csi::ControllerModifyVolumeRequest { volume_id: volume_id.clone(), secrets: secrets(), ..Default::default() };
    // Whether it is refused makes no difference.
    let _ = csi.controller_modify_volume(modify).await;
    csi.delete_volume(csi::DeleteVolumeRequest { volume_id: volume_id.clone(), secrets: secrets() }).await.unwrap();
    let text = log::text();
    let is_own = |line: &&str| line.contains(&volume_id) || line.contains("pvc-with-secrets");
    let called: Vec<&str> = text.lines().filter(|line| line.contains("called")).filter(is_own).collect();
    assert_eq!(called.len(), 5, "{text}");
    for line in called {
        assert!(line.contains("externalId") && line.contains(STRIPPED), "{line}");
    }
    assert!(!text.contains("hide-this"), "{text}");
}
