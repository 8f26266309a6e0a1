#include "app/http_server.h"

#include <httplib.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace segmentd {
namespace {

constexpr int kThreads = 2;
constexpr time_t kTimeoutSeconds = 5;
constexpr size_t kMaxBodyBytes = 1024;

}  // namespace

HttpServer::HttpServer() : server_(std::make_unique<httplib::Server>()) {}

HttpServer::~HttpServer() {
  server_->stop();
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const ListenAddress& address,
                                                              Pages pages) {
  std::unique_ptr<HttpServer> started(new HttpServer);
  httplib::Server& server = *started->server_;
  // The library's default would let two processes share the port.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server.set_read_timeout(kTimeoutSeconds);
  server.set_write_timeout(kTimeoutSeconds);
  server.set_keep_alive_timeout(kTimeoutSeconds);
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
  if (!server.bind_to_port(address.host, address.port)) {
    return absl::UnavailableError(
        absl::StrCat(address.host, ":", address.port, " can't be listened on; give another"));
  }
  started->thread_ = std::thread([&server] { server.listen_after_bind(); });
  // stop() is without effect before.
  while (!server.is_running()) std::this_thread::yield();
  return started;
}

}  // namespace segmentd
