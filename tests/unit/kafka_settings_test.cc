#include "stream/kafka_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace segmentd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string ErrorOf(const std::vector<std::string>& client) {
  const auto settings = KafkaSettings::Parse("localhost:9092", client);
  EXPECT_FALSE(settings.ok());
  if (settings.ok()) return "";
  EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(settings.status().message());
}

TEST(KafkaSettings, TakesWhatSecurityAndNetworksNeed) {
  const auto settings = KafkaSettings::Parse(
      " a:9092,b:9092 ",
      {"security.protocol=SASL_SSL", "sasl.mechanism=SCRAM-SHA-512", "sasl.username=segmentd",
       "sasl.password=a=b", "ssl.ca.location=/etc/ssl/kafka.pem", "socket.timeout.ms=30000",
       "client.id=one", "reconnect.backoff.max.ms=5000", "statistics.interval.ms=60000"});
  ASSERT_TRUE(settings.ok()) << settings.status().message();
  EXPECT_EQ(settings->bootstrap_servers(), "a:9092,b:9092");
  ASSERT_EQ(settings->client().size(), 9u);
  // Everything behind the first "=" is the value.
  EXPECT_EQ(settings->client()[3].second, "a=b");
}

TEST(KafkaSettings, RefusesWhatExactlyOnceDependsOn) {
  for (const char* name :
       {"isolation.level=read_uncommitted", "enable.idempotence=false", "transactional.id=x",
        "enable.auto.commit=true", "auto.commit.interval.ms=10", "acks=1", "check.crcs=false",
        "transaction.timeout.ms=1", "max.in.flight.requests.per.connection=100", "retries=0"}) {
    EXPECT_THAT(ErrorOf({name}), HasSubstr("exactly once")) << name;
  }
}

TEST(KafkaSettings, RefusesWhatRunsCode) {
  for (const char* name : {"plugin.library.paths=/tmp/x.so", "ssl.engine.location=/tmp/x.so",
                           "ssl.providers=x", "sasl.kerberos.kinit.cmd=rm"}) {
    EXPECT_THAT(ErrorOf({name}), HasSubstr("run other code")) << name;
  }
}

TEST(KafkaSettings, SaysWhereElseASettingIsGiven) {
  EXPECT_THAT(ErrorOf({"bootstrap.servers=x:1"}), HasSubstr("--bootstrap-servers"));
  EXPECT_THAT(ErrorOf({"metadata.broker.list=x:1"}), HasSubstr("--bootstrap-servers"));
  EXPECT_THAT(ErrorOf({"group.id=x"}), HasSubstr("--topic-prefix"));
  EXPECT_THAT(ErrorOf({" group.id = x"}), HasSubstr("--topic-prefix"));
  EXPECT_THAT(ErrorOf({"group.instance.id=x"}), HasSubstr("--instance-id"));
}

TEST(KafkaSettings, RefusesWhatMakesAMemberOfTheGroup) {
  for (const char* name : {"group.protocol=consumer", "group.protocol.type=x",
                           "group.remote.assignor=range", "GROUP.ID=x"}) {
    EXPECT_THAT(ErrorOf({name}), HasSubstr("can't be set")) << name;
  }
}

TEST(KafkaSettings, RefusesTheUnknownAndListsTheKnown) {
  const std::string error = ErrorOf({"linger.ms=1"});
  EXPECT_THAT(error, HasSubstr("linger.ms"));
  EXPECT_THAT(error, HasSubstr("security.protocol"));
  EXPECT_THAT(ErrorOf({"ssl.nothing=1"}), HasSubstr("unknown to librdkafka"));
  // A callback has a name in librdkafka's table, and takes no text.
  EXPECT_THAT(ErrorOf({"ssl.certificate.verify_cb=x"}), HasSubstr("ssl.certificate.verify_cb"));
}

TEST(KafkaSettings, NamesABadValue) {
  EXPECT_THAT(ErrorOf({"socket.timeout.ms=soon"}), HasSubstr("socket.timeout.ms"));
  EXPECT_THAT(ErrorOf({"security.protocol=telepathy"}), HasSubstr("telepathy"));
}

TEST(KafkaSettings, RepeatsNoSecretInErrors) {
  EXPECT_THAT(ErrorOf({"hunter2"}), Not(HasSubstr("hunter2")));
  EXPECT_THAT(ErrorOf({"=hunter2"}), Not(HasSubstr("hunter2")));
  EXPECT_THAT(ErrorOf({"sasl.oauthbearer.client.secret=hunter2"}), Not(HasSubstr("hunter2")));
}

TEST(KafkaSettings, PrintsNoSecrets) {
  const auto settings = KafkaSettings::Parse(
      "a:9092", {"sasl.password=hunter2", "ssl.key.password=hunter2", "ssl.key.pem=hunter2",
                 "sasl.oauthbearer.config=hunter2", "sasl.username=segmentd"});
  ASSERT_TRUE(settings.ok()) << settings.status().message();
  EXPECT_THAT(settings->ToString(), Not(HasSubstr("hunter2")));
  EXPECT_THAT(settings->ToString(), HasSubstr("sasl.password=(secret)"));
  EXPECT_THAT(settings->ToString(), HasSubstr("sasl.username=segmentd"));
}

TEST(KafkaSettings, NeedsAnAddress) {
  const auto settings = KafkaSettings::Parse("  ", {});
  ASSERT_FALSE(settings.ok());
  EXPECT_THAT(std::string(settings.status().message()), HasSubstr("--bootstrap-servers"));
}

}  // namespace
}  // namespace segmentd
