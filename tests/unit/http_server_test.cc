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
#include <latch>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace segmentd {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::StartsWith;

// A client gives up before the server ends a connection of itself.
constexpr int kPatienceSeconds = 10;
constexpr absl::Duration kLimit = absl::Seconds(60);

// A client's connection.
class Client {
 public:
  explicit Client(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{.tv_sec = kPatienceSeconds, .tv_usec = 0};
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

std::unique_ptr<HttpServer> Started(HttpServer::Pages pages, absl::Duration limit = kLimit,
                                    bool defer_accept = true) {
  auto started =
      HttpServer::Start({.host = "127.0.0.1", .port = 0}, std::move(pages), limit, defer_accept);
  EXPECT_TRUE(started.ok()) << started.status();
  return *std::move(started);
}

HttpServer::Pages ReadyPages() {
  return {.metrics = [] { return "one 1\n"; }, .not_ready = [] { return ""; }};
}

// Accepts connections that say nothing, and at once: in the order they came.
std::unique_ptr<HttpServer> StartedWithoutDeferral() {
  return Started(ReadyPages(), kLimit, /*defer_accept=*/false);
}

std::string Get(const HttpServer& server, std::string_view path) {
  return Client(server.port()).get(path);
}

void ExpectAlive(const HttpServer& server) {
  EXPECT_THAT(Get(server, "/healthz"), StartsWith("HTTP/1.1 200"));
}

// That each said so much.
std::vector<std::unique_ptr<Client>> Clients(const HttpServer& server, int count,
                                             std::string_view said) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    clients.back()->send(said);
  }
  return clients;
}

TEST(HttpServer, ShowsItsPages) {
  const auto server = Started(ReadyPages());
  EXPECT_THAT(Get(*server, "/metrics"), AllOf(StartsWith("HTTP/1.1 200"), EndsWith("one 1\n")));
  EXPECT_THAT(Get(*server, "/readyz"), AllOf(StartsWith("HTTP/1.1 200"), EndsWith("ready\n")));
  EXPECT_THAT(Get(*server, "/elsewhere"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get(*server, "/healthz"),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("ok\n"), HasSubstr("Connection: close")));
}

TEST(HttpServer, SaysWhyItIsNotReady) {
  const auto server =
      Started({.metrics = [] { return ""; }, .not_ready = [] { return "waiting for Kafka"; }});
  EXPECT_THAT(Get(*server, "/readyz"),
              AllOf(StartsWith("HTTP/1.1 503"), EndsWith("waiting for Kafka\n")));
}

TEST(HttpServer, AnswersBesideConnectionsThatSayNothing) {
  for (const bool defer_accept : {true, false}) {
    const auto server = Started(ReadyPages(), kLimit, defer_accept);
    const auto silent = Clients(*server, 200, "");
    ExpectAlive(*server);
  }
}

TEST(HttpServer, AnswersBesideConnectionsThatSayPartOfARequest) {
  for (const std::string_view part :
       {"G", "\x16\x03\x01", "GET /healthz HTTP/1.1\r\nHost: l", "GET /healthz HTTP/1.1\r\n",
        "POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\n1"}) {
    const auto server = Started(ReadyPages());
    const auto begun = Clients(*server, 40, part);
    ExpectAlive(*server);
  }
}

// Also at the end of the server.
TEST(HttpServer, HangsUpOnNobodyWhoseRequestIsComplete) {
  std::latch asked(1);
  std::latch answer(1);
  auto server = Started({.metrics =
                             [&] {
                               asked.count_down();
                               answer.wait();
                               return "one 1\n";
                             },
                         .not_ready = [] { return ""; }});
  const Client scraper(server->port());
  // It is late before it is complete: who only were late would be the first to make room.
  scraper.send("GET /metrics HTTP/1.1\r\n");
  while (server->late() == 0) std::this_thread::yield();
  scraper.send("Host: localhost\r\n\r\n");
  asked.wait();
  EXPECT_EQ(server->late(), 1u);
  const auto begun = Clients(*server, 40, "G");
  ExpectAlive(*server);

  std::thread end([&] { server.reset(); });
  // It is under way once this is.
  begun.back()->rest();
  answer.count_down();
  EXPECT_THAT(scraper.rest(), AllOf(StartsWith("HTTP/1.1 200"), EndsWith("one 1\n")));
  end.join();
}

TEST(HttpServer, AnswersBesideConnectionsThatAreKept) {
  const auto server = Started(ReadyPages());
  std::vector<std::unique_ptr<Client>> kept;
  for (int i = 0; i < 32; ++i) {
    kept.push_back(std::make_unique<Client>(server->port()));
    EXPECT_THAT(kept.back()->get("/metrics"), EndsWith("one 1\n"));
  }
  ExpectAlive(*server);
}

TEST(HttpServer, HasABoundForThreadsAndOpenConnections) {
  const auto entries = [](const char* folder) {
    return std::distance(std::filesystem::directory_iterator(folder), {});
  };
  const auto files = entries("/proc/self/fd");
  auto server = StartedWithoutDeferral();
  // Its threads have begun then.
  ExpectAlive(*server);
  const auto threads = entries("/proc/self/task");
  {
    const auto silent = Clients(*server, 100, "");
    // Accepted after all of them.
    ExpectAlive(*server);
    EXPECT_EQ(entries("/proc/self/task"), threads);
    // What it has room for is left alone.
    EXPECT_THAT(server->open(), AllOf(Ge(15), Le(16)));
    // The oldest has made room.
    EXPECT_EQ(silent.front()->rest(), "");
    server.reset();
  }
  EXPECT_EQ(entries("/proc/self/fd"), files);
}

TEST(HttpServer, EndsARequestWithoutAnEnd) {
  const auto server = Started(ReadyPages(), absl::Milliseconds(200));
  const Client slow(server->port());
  slow.send("GET /healthz HTTP/1.1\r\nHost: local");
  slow.rest();

  const auto patient = Started(ReadyPages());
  const Client endless(patient->port());
  endless.send(std::string(64 << 10, 'a'));
  endless.rest();
}

// More of them than may be open: the later ones wait, and none is taken for a silent one.
TEST(HttpServer, AnswersEachOfManyAtOnce) {
  const auto server = Started(ReadyPages());
  std::vector<std::future<std::string>> answers;
  answers.reserve(64);
  for (int i = 0; i < 64; ++i) {
    answers.push_back(std::async(std::launch::async, [&] { return Get(*server, "/metrics"); }));
  }
  for (auto& answer : answers) EXPECT_THAT(answer.get(), EndsWith("one 1\n"));
}

TEST(HttpServer, EndsAtOnceBesideConnectionsThatHaveNotSaidAll) {
  for (const std::string_view part : {"", "G"}) {
    auto server = StartedWithoutDeferral();
    const auto begun = Clients(*server, 40, part);
    ExpectAlive(*server);
    const absl::Time before = absl::Now();
    server.reset();
    EXPECT_LT(absl::Now() - before, absl::Seconds(kPatienceSeconds));
  }
}

TEST(HttpServer, SaysThatAnAddressIsTaken) {
  const auto server = Started(ReadyPages());
  const auto second =
      HttpServer::Start({.host = "127.0.0.1", .port = server->port()},
                        {.metrics = [] { return ""; }, .not_ready = [] { return ""; }});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("give another"));
}

}  // namespace
}  // namespace segmentd
