#include "tests/kafka/broker.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tests/kafka/failure.h"

namespace segmentd {
Broker& Broker::Get() {
  static Broker broker;
  return broker;
}

Broker::Broker(const std::vector<std::string>& settings) {
  std::string folder = (std::filesystem::temp_directory_path() / "segmentd-kafka.XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) Fail(fmt::format("no folder {} for a broker", folder));
  folder_ = folder;
  for (const std::string& setting : settings) settings_ += fmt::format(" '{}'", setting);
  // Waits for the end of its input, which comes with the end of this process, however it ends: what
  // interrupts the process may reach the undertaker, too.
  undertaker_ = popen(
      fmt::format(
          "trap '' HUP INT TERM; cat >/dev/null; KAFKA_DATA_DIR='{0}' deploy/kafka/kafka kill; "
          "rm -rf '{0}'",
          folder_)
          .c_str(),
      "we");
  if (undertaker_ == nullptr) Fail("can't start the broker's undertaker");
  start();
}

Broker::~Broker() {
  pclose(undertaker_);
}

void Broker::start() {
  // The last line is the address.
  std::string out = run("start" + settings_);
  while (!out.empty() && out.back() == '\n') out.pop_back();
  address_ = out.substr(out.rfind('\n') + 1);
}

void Broker::kill() {
  run("kill");
}

void Broker::stop() {
  run("stop");
}

std::string Broker::run(std::string_view command) {
  // Tests run in the root of the sources.
  const std::string line =
      fmt::format("KAFKA_PORT=0 KAFKA_DATA_DIR='{}' deploy/kafka/kafka {}", folder_, command);
  FILE* pipe = popen(line.c_str(), "re");
  if (pipe == nullptr) Fail(fmt::format("can't run: {}", line));
  std::string out;
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof(buffer), pipe)) out.append(buffer, n);
  const int status = pclose(pipe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    Fail(fmt::format("{} failed with status {}: {}", line, status, out));
  }
  return out;
}

std::string NewTopicPrefix() {
  static std::atomic<int> next{0};
  return fmt::format("t{}.", next++);
}

}  // namespace segmentd
