// A real Apache Kafka broker for tests, started by deploy/kafka/kafka on a free port with its data
// in a temporary folder.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace segmentd {

class Broker {
 public:
  // The one of this process: started at the first call, gone at the process' end. A command that
  // fails is a Failure, with its output.
  static Broker& Get();

  // Starts one of its own. `settings`: broker settings, KEY=VALUE.
  explicit Broker(const std::vector<std::string>& settings = {});
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  // "127.0.0.1:port", the same after every start.
  const std::string& address() const { return address_; }

  // As a crash would end it; start() brings it back with its data.
  void kill();
  void stop();
  void start();

 private:
  // Runs the script; its output.
  std::string run(std::string_view command);

  std::string folder_;
  std::string settings_;
  std::string address_;
  FILE* undertaker_ = nullptr;
};

// A topic prefix that no other test of this process has.
std::string NewTopicPrefix();

}  // namespace segmentd
