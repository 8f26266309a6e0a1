// /metrics, /healthz and /readyz.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "app/listen_address.h"

namespace httplib {
class Server;
}

namespace segmentd {

// Answers one request a connection and closes it. Those that say nothing keep nobody waiting.
class HttpServer {
 public:
  struct Pages {
    std::function<std::string()> metrics;
    // Empty when ready, else why not.
    std::function<std::string()> not_ready;
  };
  // UNAVAILABLE when the address is taken. Port 0 takes a free one. `pages` are called by any
  // thread; `limit` is that of a connection, from its acceptance to its end.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const ListenAddress& address,
                                                           Pages pages,
                                                           absl::Duration limit = absl::Seconds(5));
  ~HttpServer();

  int port() const { return port_; }

 private:
  explicit HttpServer(std::unique_ptr<httplib::Server> server);
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace segmentd
