// What is in deploy/: the demo and the local broker, as their users run them.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "tests/kafka/broker.h"

namespace segmentd {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Outcome {
  int status = -1;
  // Standard output and standard error.
  std::string text;
};

Outcome Shell(const std::string& command) {
  Outcome outcome;
  FILE* const pipe = popen(fmt::format("( {} ) 2>&1", command).c_str(), "re");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> part;
  while (const size_t n = fread(part.data(), 1, part.size(), pipe))
    outcome.text.append(part.data(), n);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.status = WEXITSTATUS(status);
  return outcome;
}

std::string Demo(const std::string& environment) {
  const char* const bin = getenv("SEGMENTD_BIN_DIR");
  return fmt::format("{} BUILD='{}/..' ONCE=1 deploy/demo/run", environment,
                     bin == nullptr ? "build/bin" : bin);
}

class Deploy : public testing::Test {
 protected:
  Deploy() {
    std::string folder =
        (std::filesystem::temp_directory_path() / "segmentd-deploy.XXXXXX").string();
    if (mkdtemp(folder.data()) != nullptr) folder_ = folder;
  }
  ~Deploy() override { std::filesystem::remove_all(folder_); }

  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

// The second time the visits have an effect again: readers about SSH have left by then, 8 seconds
// after their page.
TEST_F(Deploy, TheDemoPlaysAgainOnTheSameBroker) {
  const std::string demo =
      Demo(fmt::format("KAFKA_BOOTSTRAP={} SPEED=100000", Broker::Get().address()));
  for (int i = 0; i < 2; ++i) {
    const Outcome outcome = Shell(demo);
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    EXPECT_THAT(outcome.text, AllOf(HasSubstr("4,393 events written to segmentd-demo.events"),
                                    ContainsRegex("Reading about SSH +trigger: Page Viewed"),
                                    HasSubstr(" is in readers (version 1)")));
  }
}

// On a terminal, where programs draw bars of their progress.
TEST_F(Deploy, TheDemoWritesEachChangeInALineOfItsOwn) {
  const std::string demo =
      Demo(fmt::format("KAFKA_BOOTSTRAP={} SPEED=60000", Broker::Get().address()));
  const Outcome outcome = Shell(fmt::format("script -qec \"{}\" /dev/null </dev/null", demo));
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr("4,393 events written to segmentd-demo.events"));
  std::istringstream lines(outcome.text);
  int changes = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("ADD   ") == std::string::npos) continue;
    ++changes;
    EXPECT_THAT(line, StartsWith("20"));
  }
  EXPECT_GT(changes, 100);
}

// In the place of Java: a broker that ends at once, and says which controller it was told of.
TEST_F(Deploy, TheDemoTellsWhyItsBrokerDidNotStart) {
  std::filesystem::create_directories(folder() + "/java/bin");
  std::filesystem::create_directories(folder() + "/tmp");
  const std::string java = folder() + "/java/bin/java";
  std::ofstream(java) << R"(#!/bin/sh
for argument; do
  case $argument in
    -Dkafka.log=*) log=${argument#*=} ;;
    kafka.tools.StorageTool) exit 0 ;;
  esac
done
{
  echo 'ERROR no room for a broker'
  sed -n 's/^controller.quorum.voters=/ERROR controller /p' "$argument"
  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do printf '\tat a frame\n'; done
  echo '2026-11-29 12:00:00,000 INFO it ends (kafka)'
} >"$log"
exit 1
)";
  std::filesystem::permissions(java, std::filesystem::perms::owner_all);
  const Outcome outcome = Shell(Demo(fmt::format(
      "JAVA_HOME='{0}/java' TMPDIR='{0}/tmp' KAFKA_CONTROLLER_PORT=9 KAFKA_BOOTSTRAP=", folder())));
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(
      outcome.text,
      AllOf(HasSubstr("ERROR no room for a broker"), HasSubstr("ERROR controller 1@127.0.0.1:"),
            HasSubstr("demo: the broker did not start"), Not(HasSubstr("a frame")),
            Not(HasSubstr(" INFO ")), Not(HasSubstr("1@127.0.0.1:9\n"))));

  constexpr std::string_view kLog = "its log is ";
  const size_t named = outcome.text.find(kLog);
  ASSERT_NE(named, std::string::npos) << outcome.text;
  const size_t begin = named + kLog.size();
  const std::string log = outcome.text.substr(begin, outcome.text.find('\n', begin) - begin);
  EXPECT_TRUE(std::filesystem::exists(log)) << log;
}

TEST_F(Deploy, TheProcessIdOfABrokerThatCrashedIsPassedOverInSilence) {
  // Of a shell that is gone.
  std::ofstream(folder() + "/pid") << Shell("exec sh -c 'echo $$'").text;
  const std::string kafka = fmt::format("KAFKA_DATA_DIR='{}' deploy/kafka/kafka ", folder());
  const Outcome status = Shell(kafka + "status");
  EXPECT_EQ(status.status, 1);
  EXPECT_EQ(status.text, "not running\n");
  const Outcome stop = Shell(kafka + "stop");
  EXPECT_EQ(stop.status, 0);
  EXPECT_EQ(stop.text, "");
}

}  // namespace
}  // namespace segmentd
