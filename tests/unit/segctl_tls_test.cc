// segctl and a server that serves TLS: what it says when an option is missing.

#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "tests/unit/identity.h"
#include "tests/unit/segctl_process.h"
#include "tests/unit/segctl_server.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kGiveCa[] = "\nIf it serves TLS, give --tls-ca.\n";
constexpr char kGiveCertificate[] =
    "\nIf it asks for a certificate, give --tls-cert and --tls-key.\n";

class SegctlTls : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_UNDER_THREAD_SANITIZER();
    grpc::SslServerCredentialsOptions tls(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    tls.pem_root_certs = authority_.certificate_pem();
    tls.pem_key_cert_pairs.push_back({own_.key_pem(), own_.certificate_pem()});
    server_.emplace(service_, grpc::SslServerCredentials(tls));
  }

  // Both its outputs.
  SegctlResult list(const std::string& options) {
    return Segctl("segment list --timeout 10s " + options + " 2>&1", server_->address());
  }

  const Identity authority_{"The authority", nullptr};
  const Identity own_{"The own", &authority_};
  const std::string ca_ = "--tls-ca " + FileWith("ca.pem", authority_.certificate_pem());
  const std::string pair_ = " --tls-cert " + FileWith("own.pem", own_.certificate_pem()) +
                            " --tls-key " + FileWith("own.key", own_.key_pem());
  // Implements nothing.
  segments::v1::SegmentService::Service service_;
  std::optional<SegctlServer> server_;
};

TEST_F(SegctlTls, WithAllOptionsTheServerAnswers) {
  const SegctlResult result = list(ca_ + pair_);
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.text, "segctl: \n");
}

TEST_F(SegctlTls, WithoutTlsItNamesTheOption) {
  const SegctlResult result = list("");
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.text, HasSubstr("Is segmentd running there?"));
  EXPECT_THAT(result.text, EndsWith(kGiveCa));
}

TEST_F(SegctlTls, WithoutACertificateItNamesTheOptions) {
  const SegctlResult result = list(ca_);
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.text, StartsWith("segctl: " + server_->address() + ": "));
  EXPECT_THAT(result.text, EndsWith(kGiveCertificate));
}

// Nor is it told in gRPC's log, before segctl's own words.
TEST_F(SegctlTls, AServerOfAnotherAuthorityIsNoMissingOption) {
  const Identity other("The other authority", nullptr);
  const SegctlResult result = list("--tls-ca " + FileWith("other.pem", other.certificate_pem()));
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.text, StartsWith("segctl: " + server_->address() + ": "));
  EXPECT_THAT(result.text, HasSubstr("certificate verify failed"));
  EXPECT_THAT(result.text, Not(HasSubstr(" give ")));
}

TEST_F(SegctlTls, WhereNobodyListensTlsIsNotSpokenOf) {
  for (const std::string& options : {std::string(), ca_}) {
    const SegctlResult result = Segctl("segment list --timeout 10s " + options + " 2>&1");
    EXPECT_EQ(result.status, 3);
    EXPECT_THAT(result.text, HasSubstr("Is segmentd running there?"));
    EXPECT_THAT(result.text, Not(HasSubstr(" give ")));
  }
}

}  // namespace
}  // namespace segmentd
