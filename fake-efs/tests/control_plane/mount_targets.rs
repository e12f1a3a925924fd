use aws_sdk_efs::types::IpAddressType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{client, fake, file_system};

#[tokio::test]
async fn a_zone_takes_one_mount_target_of_a_file_system() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let create = |subnet: &str| client.create_mount_target().file_system_id(&fs).subnet_id(subnet).send();
    let first = create("subnet-01234560").await.unwrap();
    assert_eq!(first.availability_zone_name(), Some("us-east-1a"));
    assert_eq!(first.availability_zone_id(), Some("use1-az1"));
    assert!(create("subnet-76543210").await.unwrap_err().into_service_error().is_mount_target_conflict());
    create("subnet-01234561").await.unwrap();
    let page = client.describe_mount_targets().file_system_id(&fs).send().await.unwrap();
    assert_eq!(page.mount_targets().len(), 2);
    let fs = client.describe_file_systems().file_system_id(&fs).send().await.unwrap();
    assert_eq!(fs.file_systems()[0].number_of_mount_targets(), 2);
}

#[tokio::test]
async fn every_mount_target_answers_at_its_own_address_until_it_is_deleted() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let mut targets = Vec::new();
    for _ in 0..2 {
        let fs = file_system(&client).await;
        let made = client.create_mount_target().file_system_id(fs).subnet_id("subnet-01234560").send().await.unwrap();
        let address: std::net::Ipv4Addr = made.ip_address().unwrap().parse().unwrap();
        assert!(address.is_loopback());
        targets
            .push((made.mount_target_id().to_owned(), std::net::SocketAddr::from((address, fake.nfs_addr().port()))));
    }
    client.describe_file_systems().send().await.unwrap();
    assert_ne!(targets[0].1, targets[1].1);
    assert_ne!(targets[0].1, fake.nfs_addr());
    let mut streams = Vec::new();
    for (id, address) in &targets {
        streams.push(null_call(*address).await.unwrap());
        let connections = fake.files().connections().list();
        let connection = connections.iter().find(|c| c.local == address.to_string()).unwrap();
        assert_eq!(connection.mount_target_id.as_ref(), Some(id), "{connection:?}");
    }
    let (id, address) = &targets[0];
    client.delete_mount_target().mount_target_id(id).send().await.unwrap();
    let mut rest = Vec::new();
    let ended = streams.remove(0).read_to_end(&mut rest).await;
    assert!(ended.is_ok_and(|n| n == 0) || rest.is_empty(), "the connection goes on");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    null_call(targets[1].1).await.unwrap();
}

/// Connects and makes NFSv4's NULL call.
async fn null_call(address: std::net::SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    // One record of 40 bytes: call 1 of RPC version 2, program 100003, version 4, procedure 0, no credentials.
    let words: [u32; 11] = [0x8000_0028, 1, 0, 2, 100_003, 4, 0, 0, 0, 0, 0];
    stream.write_all(&words.map(u32::to_be_bytes).concat()).await?;
    let mut reply = [0; 28];
    stream.read_exact(&mut reply).await?;
    assert_eq!(reply[4..8], 1u32.to_be_bytes());
    Ok(stream)
}

#[tokio::test]
async fn a_file_system_with_mount_targets_is_in_use() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let made = client.create_mount_target().file_system_id(&fs).subnet_id("subnet-01234560").send().await.unwrap();
    let busy = client.delete_file_system().file_system_id(&fs).send().await.unwrap_err();
    assert!(busy.into_service_error().is_file_system_in_use());
    client.delete_mount_target().mount_target_id(made.mount_target_id()).send().await.unwrap();
    client.delete_file_system().file_system_id(&fs).send().await.unwrap();
}

#[tokio::test]
async fn security_groups_are_replaced_and_counted() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let made = client.create_mount_target().file_system_id(&fs).subnet_id("subnet-01234560").send().await.unwrap();
    let id = made.mount_target_id();
    let groups = client.describe_mount_target_security_groups().mount_target_id(id).send().await.unwrap();
    assert_eq!(groups.security_groups().len(), 1);
    let modify = |n: usize| {
        let groups = (0..n).map(|i| format!("sg-0123456{i}")).collect();
        client.modify_mount_target_security_groups().mount_target_id(id).set_security_groups(Some(groups)).send()
    };
    modify(5).await.unwrap();
    assert!(modify(6).await.unwrap_err().into_service_error().is_security_group_limit_exceeded());
    let groups = client.describe_mount_target_security_groups().mount_target_id(id).send().await.unwrap();
    assert_eq!(groups.security_groups().len(), 5);
}

#[tokio::test]
async fn a_one_zone_file_system_takes_mount_targets_in_its_zone_only() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let made = client.create_file_system().availability_zone_name("us-east-1b").send().await.unwrap();
    assert_eq!(made.availability_zone_id(), Some("use1-az2"));
    let create =
        |subnet: &str| client.create_mount_target().file_system_id(made.file_system_id()).subnet_id(subnet).send();
    let wrong = create("subnet-01234560").await.unwrap_err();
    assert!(wrong.into_service_error().is_availability_zones_mismatch());
    create("subnet-01234561").await.unwrap();
    let nowhere = client.create_file_system().availability_zone_name("us-east-1z").send().await.unwrap_err();
    assert!(nowhere.into_service_error().is_unsupported_availability_zone());
}

#[tokio::test]
async fn an_ipv6_only_mount_target_has_no_ipv4_address() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    let made = client
        .create_mount_target()
        .file_system_id(&fs)
        .subnet_id("subnet-01234560")
        .ip_address_type(IpAddressType::Ipv6Only)
        .send()
        .await
        .unwrap();
    assert_eq!(made.ip_address(), None);
    assert!(made.ipv6_address().unwrap().starts_with("2001:db8:"));
}
