// segctl produce, as far as that needs no broker.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>

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

}  // namespace
}  // namespace segmentd
