// /metrics, /healthz and /readyz.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

#include "app/listen_address.h"

namespace httplib {
class Server;
}

namespace segmentd {

class HttpServer {
 public:
  struct Pages {
    std::function<std::string()> metrics;
    // Empty when ready, else why not.
    std::function<std::string()> not_ready;
  };
  // UNAVAILABLE when the address is taken. `pages` are
  // called by any thread.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const ListenAddress& address,
                                                           Pages pages);
  ~HttpServer();

 private:
  HttpServer();
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
};

}  // namespace segmentd
