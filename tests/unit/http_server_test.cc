// The HTTP server, over connections that behave as scrapers and probes do, and as they should not.

#include "app/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace segmentd {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kProbeTimeout = absl::Seconds(1);

// A client's connection.
class Client {
 public:
  explicit Client(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    // Nothing takes that long but a server that hangs.
    const timeval limit{.tv_sec = 60, .tv_usec = 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    EXPECT_EQ(connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  ~Client() { close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(std::string_view text) const {
    EXPECT_EQ(::send(socket_, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // All until the server ends the connection.
  std::string rest() const {
    std::string text;
    std::array<char, 4096> part;
    ssize_t got = 0;
    while ((got = recv(socket_, part.data(), part.size(), 0)) > 0) {
      text.append(part.data(), static_cast<size_t>(got));
    }
    EXPECT_EQ(got, 0) << "not ended";
    return text;
  }
  std::string get(std::string_view path) const {
    send(absl::StrCat("GET ", std::string(path), " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    return rest();
  }

 private:
  const int socket_;
};

std::unique_ptr<HttpServer> Started(const std::string& not_ready = "",
                                    absl::Duration limit = absl::Seconds(60)) {
  auto started = HttpServer::Start(
      {.host = "127.0.0.1", .port = 0},
      {.metrics = [] { return "one 1\n"; }, .not_ready = [not_ready] { return not_ready; }}, limit);
  EXPECT_TRUE(started.ok()) << started.status();
  return *std::move(started);
}

std::string Get(const HttpServer& server, std::string_view path) {
  return Client(server.port()).get(path);
}

void ExpectAlive(const HttpServer& server) {
  const absl::Time begun = absl::Now();
  EXPECT_THAT(Get(server, "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_LT(absl::Now() - begun, kProbeTimeout);
}

TEST(HttpServer, ShowsItsPages) {
  const auto server = Started();
  EXPECT_THAT(Get(*server, "/metrics"), AllOf(StartsWith("HTTP/1.1 200"), EndsWith("one 1\n")));
  EXPECT_THAT(Get(*server, "/readyz"), AllOf(StartsWith("HTTP/1.1 200"), EndsWith("ready\n")));
  EXPECT_THAT(Get(*server, "/elsewhere"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get(*server, "/healthz"),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("ok\n"), HasSubstr("Connection: close")));
}

TEST(HttpServer, SaysWhyItIsNotReady) {
  const auto server = Started("waiting for Kafka");
  EXPECT_THAT(Get(*server, "/readyz"),
              AllOf(StartsWith("HTTP/1.1 503"), EndsWith("waiting for Kafka\n")));
}

TEST(HttpServer, AnswersBesideConnectionsThatSayNothing) {
  const auto server = Started();
  std::vector<std::unique_ptr<Client>> silent;
  silent.reserve(200);
  for (int i = 0; i < 200; ++i) silent.push_back(std::make_unique<Client>(server->port()));
  ExpectAlive(*server);
}

TEST(HttpServer, AnswersBesideConnectionsThatAreKept) {
  const auto server = Started();
  std::vector<std::unique_ptr<Client>> kept;
  for (int i = 0; i < 32; ++i) {
    kept.push_back(std::make_unique<Client>(server->port()));
    EXPECT_THAT(kept.back()->get("/metrics"), EndsWith("one 1\n"));
  }
  ExpectAlive(*server);
}

TEST(HttpServer, HasABoundForThreadsAndOpenConnections) {
  const auto server = Started();
  const auto entries = [](const char* folder) {
    return std::distance(std::filesystem::directory_iterator(folder), {});
  };
  // Its threads have begun then.
  ExpectAlive(*server);
  const auto threads = entries("/proc/self/task");
  const auto files = entries("/proc/self/fd");
  std::vector<std::unique_ptr<Client>> silent;
  silent.reserve(100);
  for (int i = 0; i < 100; ++i) silent.push_back(std::make_unique<Client>(server->port()));
  // Accepted after all of them.
  ExpectAlive(*server);
  EXPECT_EQ(entries("/proc/self/task"), threads);
  EXPECT_LT(entries("/proc/self/fd") - files - 100, 32);
}

TEST(HttpServer, EndsARequestWithoutAnEnd) {
  const auto server = Started("", absl::Milliseconds(200));
  const Client slow(server->port());
  slow.send("GET /healthz HTTP/1.1\r\nHost: local");
  slow.rest();

  const auto patient = Started();
  const Client endless(patient->port());
  endless.send(std::string(64 << 10, 'a'));
  endless.rest();
}

// More of them than may be open: the later ones wait, and none is taken for a silent one.
TEST(HttpServer, AnswersEachOfManyAtOnce) {
  const auto server = Started();
  std::vector<std::future<std::string>> answers;
  answers.reserve(64);
  for (int i = 0; i < 64; ++i) {
    answers.push_back(std::async(std::launch::async, [&] { return Get(*server, "/metrics"); }));
  }
  for (auto& answer : answers) EXPECT_THAT(answer.get(), EndsWith("one 1\n"));
}

TEST(HttpServer, EndsAtOnceBesideASilentConnection) {
  auto server = Started();
  const Client silent(server->port());
  ExpectAlive(*server);
  const absl::Time begun = absl::Now();
  server.reset();
  EXPECT_LT(absl::Now() - begun, absl::Seconds(2));
}

TEST(HttpServer, SaysThatAnAddressIsTaken) {
  const auto server = Started();
  const auto second =
      HttpServer::Start({.host = "127.0.0.1", .port = server->port()},
                        {.metrics = [] { return ""; }, .not_ready = [] { return ""; }});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("give another"));
}

}  // namespace
}  // namespace segmentd
