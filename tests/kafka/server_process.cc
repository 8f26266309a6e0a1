#include "tests/kafka/server_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "tests/kafka/failure.h"

namespace segmentd {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(60);
constexpr absl::Duration kBetweenLooks = absl::Milliseconds(10);
constexpr std::string_view kVersion = "HTTP/1.1 ";

std::string Program(std::string_view name) {
  const char* folder = getenv("SEGMENTD_BIN_DIR");
  return fmt::format("{}/{}", folder == nullptr ? "build/bin" : folder, name);
}

sockaddr_in Local(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// A socket that keeps its port until it is closed.
int BindFreePort(int* port) {
  const int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Local(0);
  socklen_t size = sizeof(address);
  if (bind(socket_fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(socket_fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    Fail("no free port for segmentd");
  }
  *port = ntohs(address.sin_port);
  return socket_fd;
}

Page Get(int port, std::string_view path) {
  const int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  setsockopt(socket_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  const sockaddr_in address = Local(port);
  std::string answer;
  if (connect(socket_fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request =
        fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    if (send(socket_fd, request.data(), request.size(), MSG_NOSIGNAL) ==
        static_cast<ssize_t>(request.size())) {
      std::array<char, 16384> part;
      ssize_t got = 0;
      while ((got = recv(socket_fd, part.data(), part.size(), 0)) > 0) {
        answer.append(part.data(), static_cast<size_t>(got));
      }
    }
  }
  close(socket_fd);
  const size_t body = answer.find("\r\n\r\n");
  if (!answer.starts_with(kVersion) || body == std::string::npos) return {};
  return {.status = std::atoi(answer.c_str() + kVersion.size()), .text = answer.substr(body + 4)};
}

}  // namespace

CommandResult RunSegctl(const std::string& server, const std::string& arguments) {
  const std::string line =
      fmt::format("SEGCTL_SERVER={} {} {} 2>&1 </dev/null", server, Program("segctl"), arguments);
  FILE* pipe = popen(line.c_str(), "re");
  if (pipe == nullptr) Fail(fmt::format("can't run: {}", line));
  CommandResult result;
  std::array<char, 4096> part;
  size_t got = 0;
  while ((got = fread(part.data(), 1, part.size(), pipe)) > 0) result.text.append(part.data(), got);
  result.status = WEXITSTATUS(pclose(pipe));
  return result;
}

ServerProcess::ServerProcess(const std::string& bootstrap_servers, std::string topic_prefix,
                             std::vector<std::string> arguments) {
  const int grpc = BindFreePort(&grpc_port_);
  const int http = BindFreePort(&http_port_);
  close(grpc);
  close(http);
  folder_ = (std::filesystem::temp_directory_path() / "segmentd-server.XXXXXX").string();
  if (mkdtemp(folder_.data()) == nullptr) Fail(fmt::format("no folder {} for segmentd", folder_));
  log_path_ = folder_ + "/log";
  command_ = {Program("segmentd"),
              "--bootstrap-servers",
              bootstrap_servers,
              "--topic-prefix",
              std::move(topic_prefix),
              "--instance-id",
              "one",
              "--listen",
              fmt::format("127.0.0.1:{}", grpc_port_),
              "--http",
              fmt::format("127.0.0.1:{}", http_port_)};
  for (std::string& argument : arguments) command_.push_back(std::move(argument));
}

ServerProcess::~ServerProcess() {
  kill();
  std::filesystem::remove_all(folder_);
}

void ServerProcess::use_http_address_of(const ServerProcess& other) {
  const auto address = [](auto& command) {
    return std::find(command.begin(), command.end(), "--http") + 1;
  };
  *address(command_) = *address(other.command_);
  http_port_ = other.http_port_;
}

void ServerProcess::start() {
  if (pid_ > 0) Fail("segmentd runs already");
  std::vector<char*> arguments;
  for (std::string& argument : command_) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const int log = open(log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0 || log < 0) Fail("can't start segmentd");
  if (pid_ == 0) {
    // Whatever becomes of the test.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    dup2(log, STDERR_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  close(log);
}

bool ServerProcess::await_ready() {
  const absl::Time until = absl::Now() + kLimit;
  while (page("/readyz").status != 200) {
    const bool ended = waitpid(pid_, nullptr, WNOHANG) == pid_;
    if (ended) pid_ = -1;
    if (ended || absl::Now() > until) {
      fmt::print(stderr, "segmentd {}; its log:\n{}\n", ended ? "has ended" : "did not get ready",
                 log());
      return false;
    }
    absl::SleepFor(kBetweenLooks);
  }
  return true;
}

void ServerProcess::freeze() {
  if (pid_ > 0) ::kill(pid_, SIGSTOP);
}

void ServerProcess::thaw() {
  if (pid_ > 0) ::kill(pid_, SIGCONT);
}

void ServerProcess::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

int ServerProcess::stop() {
  if (pid_ <= 0) return -1;
  ::kill(pid_, SIGTERM);
  return await_end();
}

int ServerProcess::await_end() {
  const std::optional<int> status = wait();
  return status.has_value() && WIFEXITED(*status) ? WEXITSTATUS(*status) : -1;
}

std::optional<int> ServerProcess::wait() {
  if (pid_ <= 0) return std::nullopt;
  const absl::Time until = absl::Now() + kLimit;
  while (absl::Now() < until) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return status;
    }
    absl::SleepFor(kBetweenLooks);
  }
  return std::nullopt;
}

std::string ServerProcess::log() const {
  std::ifstream file(log_path_);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Page ServerProcess::page(std::string_view path) const {
  return Get(http_port_, path);
}

std::vector<double> ServerProcess::series(std::string_view begin) const {
  std::istringstream lines(page("/metrics").text);
  std::vector<double> values;
  std::string line;
  while (std::getline(lines, line)) {
    if (!line.starts_with(begin)) continue;
    if (begin.find('{') == std::string_view::npos && line[begin.size()] != ' ' &&
        line[begin.size()] != '{') {
      continue;
    }
    values.push_back(std::strtod(line.c_str() + line.rfind(' '), nullptr));
  }
  return values;
}

std::optional<double> ServerProcess::metric(std::string_view begin) const {
  const std::vector<double> values = series(begin);
  if (values.empty()) return std::nullopt;
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double ServerProcess::least(std::string_view begin) const {
  const std::vector<double> values = series(begin);
  return values.empty() ? 0 : *std::min_element(values.begin(), values.end());
}

CommandResult ServerProcess::segctl(const std::string& arguments) const {
  return RunSegctl(fmt::format("127.0.0.1:{}", grpc_port_), arguments);
}

}  // namespace segmentd
