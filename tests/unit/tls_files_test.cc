// Wrong TLS files, as both programs tell of them: at once, with the option, the file and what to
// do.

#include "app/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

#include "tests/unit/identity.h"
#include "tests/unit/segctl_process.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class TlsFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / absl::StrCat("tls-files-", getpid());
    std::filesystem::create_directories(folder_);
    good_ = {.ca_option = "--tls-ca",
             .ca = file("ca.pem", authority_.certificate_pem()),
             .certificate = file("own.pem", own_.certificate_pem() + authority_.certificate_pem()),
             .key = file("own.key", own_.key_pem())};
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  std::string wrong(std::string TlsPaths::*path, const std::string& given) {
    TlsPaths paths = good_;
    paths.*path = given;
    const absl::Status status = TlsFiles::Read(paths).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << given;
    return std::string(status.message());
  }
  // segmentd's, beside a Kafka that is not there.
  SegctlResult segmentd(const std::string& ca, const std::string& certificate,
                        const std::string& key) {
    return Segmentd(absl::StrCat("--bootstrap-servers 127.0.0.1:1 --startup-timeout 1s --http '' ",
                                 "--listen 127.0.0.1:0 --tls-client-ca ", ca, " --tls-cert ",
                                 certificate, " --tls-key ", key, " 2>&1"));
  }
  SegctlResult segctl(const std::string& options) {
    return Segctl("segment list --timeout 2s " + options + " 2>&1");
  }

  std::filesystem::path folder_;
  const Identity authority_{"The authority", nullptr};
  const Identity own_{"The own", &authority_};
  const Identity other_{"Another", &authority_};
  TlsPaths good_;
};

TEST_F(TlsFilesTest, GoodOnesAreReadAsTheyAre) {
  const absl::StatusOr<TlsFiles> all = TlsFiles::Read(good_);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->ca, authority_.certificate_pem());
  EXPECT_EQ(all->certificate, own_.certificate_pem() + authority_.certificate_pem());
  EXPECT_EQ(all->key, own_.key_pem());

  TlsPaths paths = good_;
  paths.ca.clear();
  EXPECT_TRUE(TlsFiles::Read(paths).ok());
  paths = {.ca_option = "--tls-ca", .ca = good_.ca};
  EXPECT_TRUE(TlsFiles::Read(paths).ok());
  // Key and certificate in one file.
  const std::string both = file("both.pem", own_.key_pem() + own_.certificate_pem());
  paths = {.ca_option = "--tls-ca", .ca = good_.ca, .certificate = both, .key = both};
  EXPECT_TRUE(TlsFiles::Read(paths).ok());
}

TEST_F(TlsFilesTest, AFileThatCannotBeReadIsNamedWithItsOption) {
  for (const auto& [option, path] :
       {std::pair{"--tls-ca: ", &TlsPaths::ca}, std::pair{"--tls-cert: ", &TlsPaths::certificate},
        std::pair{"--tls-key: ", &TlsPaths::key}}) {
    for (const std::string& given : {std::string(folder_ / "missing"), std::string(folder_)}) {
      EXPECT_THAT(wrong(path, given), AllOf(StartsWith(option + given + ": "),
                                            HasSubstr("; name a PEM file that can be read")));
    }
  }
}

TEST_F(TlsFilesTest, AFileOfSomethingElseIsRefused) {
  for (const std::string& text : {std::string(), std::string("no PEM"), own_.key_pem()}) {
    const std::string given = file("else", text);
    EXPECT_THAT(wrong(&TlsPaths::ca, given),
                StartsWith("--tls-ca: " + given + " holds no certificate; name a PEM file"));
    EXPECT_THAT(wrong(&TlsPaths::certificate, given),
                StartsWith("--tls-cert: " + given + " holds no certificate; name a PEM file"));
  }
  for (const std::string& text : {std::string(), std::string("no PEM"), own_.certificate_pem()}) {
    const std::string given = file("else", text);
    EXPECT_THAT(wrong(&TlsPaths::key, given),
                StartsWith("--tls-key: " + given + " holds no private key that can be read; name"));
  }
}

TEST_F(TlsFilesTest, ADamagedOneIsRefusedBehindGoodOnes) {
  std::string damaged = own_.certificate_pem();
  damaged.erase(damaged.size() / 2, 40);
  const std::string given = file("damaged", own_.certificate_pem() + damaged);
  EXPECT_THAT(wrong(&TlsPaths::ca, given),
              StartsWith("--tls-ca: " + given + ": its certificate number 2 can't be read ("));
  EXPECT_THAT(wrong(&TlsPaths::certificate, given),
              StartsWith("--tls-cert: " + given + ": its certificate number 2 can't be read ("));
  std::string key = own_.key_pem();
  key.erase(key.size() / 2, 20);
  EXPECT_THAT(wrong(&TlsPaths::key, file("damaged", key)),
              HasSubstr("holds no private key that can be read"));
}

TEST_F(TlsFilesTest, CertificateAndKeyBelongTogether) {
  const std::string other = file("other.key", other_.key_pem());
  EXPECT_THAT(wrong(&TlsPaths::key, other),
              AllOf(StartsWith("--tls-key: " + other + " is not the key"),
                    HasSubstr(good_.certificate + " (--tls-cert)")));
  const std::string reversed =
      file("reversed.pem", authority_.certificate_pem() + own_.certificate_pem());
  EXPECT_THAT(wrong(&TlsPaths::certificate, reversed),
              HasSubstr("let the own certificate stand before"));
  EXPECT_THAT(wrong(&TlsPaths::key, ""), HasSubstr("give both"));
  EXPECT_THAT(wrong(&TlsPaths::certificate, ""), HasSubstr("give both"));
}

TEST_F(TlsFilesTest, AnEncryptedKeyIsRefusedWithoutAQuestion) {
  EXPECT_THAT(wrong(&TlsPaths::key, file("encrypted.key", own_.key_pem("secret"))),
              HasSubstr("is encrypted"));
}

TEST_F(TlsFilesTest, ACertificateTooWeakForAHandshakeIsRefused) {
  const Identity weak("Weak", nullptr, EVP_RSA_gen(1024));
  TlsPaths paths = good_;
  paths.certificate = file("weak.pem", weak.certificate_pem());
  paths.key = file("weak.key", weak.key_pem());
  EXPECT_THAT(std::string(TlsFiles::Read(paths).status().message()),
              AllOf(StartsWith("--tls-cert: "), HasSubstr("can't be used for TLS (")));
}

// Status 3 would say that it looked for Kafka first.
TEST_F(TlsFilesTest, SegmentdChecksThemBeforeKafkaIsAsked) {
  const SegctlResult missing = segmentd(good_.ca, folder_ / "missing", good_.key);
  EXPECT_EQ(missing.status, 2) << missing.text;
  EXPECT_THAT(missing.text, HasSubstr("--tls-cert: "));
  const SegctlResult authority = segmentd(good_.key, good_.certificate, good_.key);
  EXPECT_EQ(authority.status, 2) << authority.text;
  EXPECT_THAT(authority.text, HasSubstr("--tls-client-ca: "));
  const SegctlResult pair =
      segmentd(good_.ca, good_.certificate, file("other.key", other_.key_pem()));
  EXPECT_EQ(pair.status, 2) << pair.text;
  EXPECT_THAT(pair.text, HasSubstr("--tls-key: "));
  EXPECT_EQ(segmentd(good_.ca, good_.certificate, good_.key).status, 3);
}

TEST_F(TlsFilesTest, SegctlChecksThemBeforeItConnects) {
  const SegctlResult pair =
      segctl(absl::StrCat("--tls-ca ", good_.ca, " --tls-cert ", good_.certificate, " --tls-key ",
                          file("other.key", other_.key_pem())));
  EXPECT_EQ(pair.status, 2) << pair.text;
  EXPECT_THAT(pair.text, StartsWith("segctl: --tls-key: "));
  const SegctlResult authority = segctl("--tls-ca " + good_.key);
  EXPECT_EQ(authority.status, 2) << authority.text;
  EXPECT_THAT(authority.text, StartsWith("segctl: --tls-ca: "));
  const SegctlResult missing = segctl("--tls-ca " + std::string(folder_ / "missing"));
  EXPECT_EQ(missing.status, 2) << missing.text;
  EXPECT_THAT(missing.text, StartsWith("segctl: --tls-ca: "));
}

}  // namespace
}  // namespace segmentd
