// segctl produce, as far as that needs no broker.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>

#include <string>

#include "stream/kafka_client.h"
#include "tests/unit/segctl_process.h"

namespace segmentd {
namespace {

using testing::HasSubstr;
using testing::Not;

// It ends where the file can't be read: no broker is asked.
SegctlResult Produce(const std::string& speed) {
  return Segctl("produce /there/is/none --speed " + speed + " 2>&1");
}

TEST(SegctlProduce, SpeedIsBounded) {
  for (const char* speed :
       {"1e-300", "0.00099", "0", "-1", "1000001", "1e300", "inf", "nan", "x"}) {
    const SegctlResult result = Produce(speed);
    EXPECT_EQ(result.status, 2) << speed;
    EXPECT_THAT(result.text, HasSubstr("--speed: write a number from 0.001 to 1,000,000")) << speed;
  }
  for (const char* speed : {"0.001", "1", "3600", "1e6"}) {
    const SegctlResult result = Produce(speed);
    EXPECT_EQ(result.status, 2) << speed;
    EXPECT_THAT(result.text, HasSubstr("/there/is/none: ")) << speed;
    EXPECT_THAT(result.text, Not(HasSubstr("--speed"))) << speed;
  }
  EXPECT_THAT(Segctl("produce --help").text, HasSubstr("0.001 to 1,000,000"));
}

// The environment's settings are not hidden by a flag: each is looked at, before the file is
// opened.
TEST(SegctlProduce, KafkaSettingsOfTheEnvironmentStandBesideFlags) {
  const std::string produce = "produce /there/is/none --kafka client.id=x 2>&1";
  EXPECT_THAT(Segctl(produce).text, HasSubstr("/there/is/none: "));
  ASSERT_EQ(setenv("SEGCTL_KAFKA", "client.id=y\nacks=0", 1), 0);
  const SegctlResult result = Segctl(produce);
  unsetenv("SEGCTL_KAFKA");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.text, HasSubstr("\"acks\""));
}

// A broker that refuses the first record that it gets.
class Refusing {
 public:
  explicit Refusing(rd_kafka_resp_err_t error) {
    constexpr int16_t kProduce = 0;
    EXPECT_EQ(rd_kafka_mock_topic_create(cluster_.get(), "events", 1, 1),
              RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_mock_push_request_errors(cluster_.get(), kProduce, 1, error);
  }
  SegctlResult produce(const std::string& options) const {
    const std::string events = FileWith(
        "refused.ndjson",
        R"({"type":"track","userId":"somebody","event":"Booked","timestamp":"2026-01-01"})");
    return Segctl("produce " + events + " --speed 1 --bootstrap-servers " +
                  rd_kafka_mock_cluster_bootstraps(cluster_.get()) + " " + options + " 2>&1");
  }

 private:
  const KafkaHandle handle_ = *MakeKafkaHandle(
      KafkaRole::kWriter, *MakeKafkaConf(*KafkaSettings::Parse("127.0.0.1:1"), KafkaRole::kWriter));
  const KafkaPtr<rd_kafka_mock_cluster_t, rd_kafka_mock_cluster_destroy> cluster_{
      rd_kafka_mock_cluster_new(handle_.get(), 1)};
};

TEST(SegctlProduce, SaysWhyARecordWasRefusedAndWhatToDo) {
  const SegctlResult ahead = Refusing(RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP).produce("");
  EXPECT_EQ(ahead.status, 2) << ahead.text;
  EXPECT_THAT(ahead.text, HasSubstr("1 event not written: INVALID_TIMESTAMP: "));
  EXPECT_THAT(ahead.text, HasSubstr("message.timestamp.before.max.ms"));
  EXPECT_THAT(ahead.text, HasSubstr("message.timestamp.after.max.ms"));
  EXPECT_THAT(ahead.text, Not(HasSubstr("somebody")));

  const SegctlResult large = Refusing(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE).produce("--json");
  EXPECT_EQ(large.status, 2) << large.text;
  EXPECT_THAT(large.text, HasSubstr(R"("failed":1,)"));
  EXPECT_THAT(large.text, HasSubstr(R"("error":"MSG_SIZE_TOO_LARGE: )"));
  EXPECT_THAT(large.text, HasSubstr("raise the topic's max.message.bytes"));
  EXPECT_THAT(large.text, Not(HasSubstr("somebody")));

  // Not the record's fault.
  const SegctlResult other = Refusing(RD_KAFKA_RESP_ERR_UNKNOWN).produce("");
  EXPECT_EQ(other.status, 3) << other.text;
  EXPECT_THAT(other.text, HasSubstr("1 event not written: UNKNOWN: "));
  EXPECT_THAT(other.text, Not(HasSubstr("somebody")));
}

}  // namespace
}  // namespace segmentd
