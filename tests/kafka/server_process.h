// segmentd as a process of its own, as its users run it, and segctl to talk to it. Both come from
// $SEGMENTD_BIN_DIR.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace segmentd {

struct CommandResult {
  int status = -1;
  // Standard output and standard error, as they came.
  std::string text;
};

// `arguments` go through a shell.
CommandResult RunSegctl(const std::string& server, const std::string& arguments);

struct Page {
  // 0 when nobody answers.
  int status = 0;
  std::string text;
};

// On free ports. Throws Failure when it can't be started. One thread.
class ServerProcess {
 public:
  // Nothing runs before start().
  ServerProcess(const std::string& bootstrap_servers, std::string topic_prefix,
                std::vector<std::string> arguments = {});
  // Kills.
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Before start(): as a process does that was started a second time by mistake.
  void use_http_address_of(const ServerProcess& other);

  // Does not wait: the server may be killed at any moment after.
  void start();
  // False, with the log shown, when it ended or did not get ready in time.
  bool await_ready();
  // Halts it where it is, so that a test is not outrun while it looks; thaw() lets it go on. Of
  // what else can be done with it, kill() alone takes it frozen.
  void freeze();
  void thaw();
  void kill();
  // By SIGTERM; the exit status.
  int stop();
  // Of a server that ends by itself; -1 when it does not.
  int await_end();

  // Standard error of all starts.
  std::string log() const;
  // Of HTTP: "/readyz".
  Page page(std::string_view path) const;
  // Sum over all series that begin with `series`, a name or a name with the first labels; absent
  // while /metrics does not answer.
  std::optional<double> metric(std::string_view series) const;
  // The least of the series; 0 while there is none.
  double least(std::string_view series) const;

  CommandResult segctl(const std::string& arguments) const;

 private:
  std::vector<double> series(std::string_view begin) const;
  // Reaps it when it has ended, waiting up to kLimit; the wait status.
  std::optional<int> wait();

  std::vector<std::string> command_;
  std::string folder_;
  std::string log_path_;
  int grpc_port_ = 0;
  int http_port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace segmentd
