#include "app/http_server.h"

#include <httplib.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace segmentd {
namespace {

// Open at once; each has a thread.
constexpr size_t kConnections = 16;
// Not accepted yet. The library's own bound is 5: a sixth at once would be put off for a second.
constexpr int kBacklog = 1024;
constexpr size_t kMaxRequestBytes = 64 << 10;
constexpr size_t kMaxBodyBytes = 1024;

struct Connection {
  Connection(socket_t open, absl::Duration limit) : socket(open), end(absl::Now() + limit) {}

  // Whether there is something to read, or room to write for POLLOUT, by then.
  bool wait(short what, absl::Time until) const {
    for (;;) {
      const absl::Duration left = std::max(until - absl::Now(), absl::ZeroDuration());
      pollfd polled{.fd = socket, .events = what, .revents = 0};
      const int ready = poll(
          &polled, 1,
          static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)))));
      if (ready >= 0 || errno != EINTR) return ready > 0;
    }
  }
  // It keeps its place only for more of its request to come.
  bool evictable() const { return late && !complete; }
  // Its thread closes it then.
  void hang_up() const { ::shutdown(socket, SHUT_RDWR); }

  const socket_t socket;
  const absl::Time end;
  // All that had come was read once, and was not a request yet. Stays so: who sends byte by byte is
  // no better than who sends nothing.
  std::atomic<bool> late{false};
  // The request is, and is being answered.
  std::atomic<bool> complete{false};
};

// The library's own stream waits anew for every byte, and takes as many as come.
class BoundedStream final : public httplib::Stream {
 public:
  // `late` is called before it waits for more; it ends if that says so.
  BoundedStream(Connection& connection, std::function<bool()> late)
      : connection_(connection), late_(std::move(late)) {}

  bool is_readable() const override { return begin_ < end_ || more_comes(); }
  bool is_writable() const override { return connection_.wait(POLLOUT, connection_.end); }

  ssize_t read(char* to, size_t size) override {
    if (begin_ == end_) {
      if (taken_ >= kMaxRequestBytes || !more_comes()) return -1;
      const ssize_t got = recv(connection_.socket, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (got <= 0) return got;
      begin_ = 0;
      end_ = static_cast<size_t>(got);
      taken_ += end_;
    }
    const size_t given = std::min(size, end_ - begin_);
    std::copy_n(buffer_.data() + begin_, given, to);
    begin_ += given;
    return static_cast<ssize_t>(given);
  }
  ssize_t write(const char* from, size_t size) override {
    if (!is_writable()) return -1;
    return send(connection_.socket, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  // Nobody asks.
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return connection_.socket; }

 private:
  bool more_comes() const {
    if (connection_.wait(POLLIN, absl::InfinitePast())) return true;
    return late_() && connection_.wait(POLLIN, connection_.end);
  }

  Connection& connection_;
  const std::function<bool()> late_;
  std::array<char, 4096> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t taken_ = 0;
};

}  // namespace

// The library's own handling gives each connection a thread for as long as it is kept alive, and
// lets the others wait, without a bound: two scrapers that keep theirs would hide /healthz. Here
// who has not said all makes room for who comes.
class HttpServer::PageServer final : public httplib::Server {
 public:
  explicit PageServer(absl::Duration limit) : limit_(limit) {
    new_task_queue = [this] { return new Threads(*this); };
  }

  bool widen_backlog() { return ::listen(svr_sock_, kBacklog) == 0; }

  size_t open() const {
    const std::scoped_lock lock(mutex_);
    return open_.size();
  }
  size_t late() const {
    const std::scoped_lock lock(mutex_);
    return static_cast<size_t>(std::count_if(
        open_.begin(), open_.end(), [](const Connection& one) { return one.late.load(); }));
  }

 private:
  // Accepted connections are handed over at once, by the accepting thread.
  class Threads final : public httplib::TaskQueue {
   public:
    explicit Threads(PageServer& server) : server_(server) {
      for (size_t i = 0; i < kConnections; ++i)
        threads_.emplace_back([&server] { server.serve(); });
    }
    void enqueue(std::function<void()> hand_over) override { hand_over(); }
    void shutdown() override {
      server_.end();
      for (std::thread& thread : threads_) thread.join();
    }

   private:
    PageServer& server_;
    std::vector<std::thread> threads_;
  };

  bool process_and_close_socket(socket_t socket) override {
    std::unique_lock lock(mutex_);
    while (open_.size() >= kConnections) {
      hang_up_oldest();
      changed_.wait(lock);
    }
    waiting_.push_back(&open_.emplace_back(socket, limit_));
    changed_.notify_all();
    return true;
  }

  // Of those that may be. Until it is closed it is the oldest: no second one goes in its place.
  void hang_up_oldest() {
    const auto oldest = std::find_if(open_.begin(), open_.end(),
                                     [](const Connection& one) { return one.evictable(); });
    if (oldest != open_.end()) oldest->hang_up();
  }

  // Whether it may wait for more.
  bool set_late(Connection& connection) {
    const std::scoped_lock lock(mutex_);
    connection.late = true;
    changed_.notify_all();
    return !ending_;
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      Connection& connection = *waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      bool closed = false;
      BoundedStream stream(connection, [&] { return set_late(connection); });
      process_request(stream, /*close_connection=*/true, closed,
                      [&connection](const httplib::Request& request) {
                        // After its headers. No other method has a page, and they may have a body.
                        connection.complete = request.method == "GET" || request.method == "HEAD";
                      });
      connection.hang_up();
      lock.lock();
      // Not without the lock: its number may be another's at once.
      ::close(connection.socket);
      open_.remove_if([&](const Connection& one) { return &one == &connection; });
      changed_.notify_all();
    }
  }

  void end() {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
    // The others have their answer first, or end when they become late.
    for (const Connection& connection : open_) {
      if (connection.evictable()) connection.hang_up();
    }
    changed_.notify_all();
  }

  const absl::Duration limit_;
  mutable std::mutex mutex_;
  // Of what follows.
  std::condition_variable changed_;
  std::list<Connection> open_;
  // Of those, the ones that have no thread yet.
  std::deque<Connection*> waiting_;
  bool ending_ = false;
};

HttpServer::HttpServer(std::unique_ptr<PageServer> server) : server_(std::move(server)) {}

HttpServer::~HttpServer() {
  server_->stop();
  if (thread_.joinable()) thread_.join();
}

size_t HttpServer::open() const {
  return server_->open();
}

size_t HttpServer::late() const {
  return server_->late();
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const ListenAddress& address,
                                                              Pages pages, absl::Duration limit,
                                                              bool defer_accept) {
  auto owned = std::make_unique<PageServer>(limit);
  PageServer& server = *owned;
  std::unique_ptr<HttpServer> started(new HttpServer(std::move(owned)));
  server.set_socket_options([defer_accept](socket_t socket) {
    // The library's default would let two processes share the port.
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (!defer_accept) return;
    const int seconds = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds));
  });
  server.set_payload_max_length(kMaxBodyBytes);
  server.Get("/metrics", [page = std::move(pages.metrics)](const httplib::Request&,
                                                           httplib::Response& response) {
    response.set_content(page(), "text/plain; version=0.0.4; charset=utf-8");
  });
  server.Get("/healthz", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ok\n", "text/plain");
  });
  server.Get("/readyz", [not_ready = std::move(pages.not_ready)](const httplib::Request&,
                                                                 httplib::Response& response) {
    const std::string why = not_ready();
    response.status = why.empty() ? 200 : 503;
    response.set_content(why.empty() ? "ready\n" : why + "\n", "text/plain");
  });
  if (address.port == 0) {
    started->port_ = server.bind_to_any_port(address.host);
  } else if (server.bind_to_port(address.host, address.port)) {
    started->port_ = address.port;
  }
  if (started->port_ <= 0 || !server.widen_backlog()) {
    return absl::UnavailableError(
        absl::StrCat(address.host, ":", address.port, " can't be listened on; give another"));
  }
  started->thread_ = std::thread([&server] { server.listen_after_bind(); });
  // stop() is without effect before.
  while (!server.is_running()) std::this_thread::yield();
  return started;
}

}  // namespace segmentd
