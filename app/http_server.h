// /metrics, /healthz and /readyz.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "app/listen_address.h"

namespace segmentd {

// Answers one request a connection and closes it. Those whose request does not come to its end keep
// nobody waiting.
class HttpServer {
 public:
  struct Pages {
    std::function<std::string()> metrics;
    // Empty when ready, else why not.
    std::function<std::string()> not_ready;
  };
  // UNAVAILABLE when the address is taken. Port 0 takes a free one. `pages` are called by any
  // thread; `limit` is that of a connection, from its acceptance to its end. With `defer_accept` it
  // is accepted once something came, or a second late: of many at once none seems to be late that
  // has only just begun.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const ListenAddress& address,
                                                           Pages pages,
                                                           absl::Duration limit = absl::Seconds(5),
                                                           bool defer_accept = true);
  ~HttpServer();

  int port() const { return port_; }
  // Accepted connections that are not closed yet.
  size_t open() const;
  // Of those, the ones that had not said all when all that had come was read.
  size_t late() const;

 private:
  class PageServer;
  explicit HttpServer(std::unique_ptr<PageServer> server);
  std::unique_ptr<PageServer> server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace segmentd
