// How to reach Kafka: the broker's addresses and what a user may set of the client.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace segmentd {

class KafkaSettings {
 public:
  // `bootstrap_servers`: "host:port,…". `client`: settings as `name=value` with librdkafka's names.
  // INVALID_ARGUMENT names the setting and says why it is refused: not on the list of what is the
  // user's to set, or not a value that the client takes.
  static absl::StatusOr<KafkaSettings> Parse(std::string_view bootstrap_servers,
                                             const std::vector<std::string>& client = {});

  const std::string& bootstrap_servers() const { return bootstrap_servers_; }
  // In the order given.
  const std::vector<std::pair<std::string, std::string>>& client() const { return client_; }

  // For logs: secrets are left out.
  std::string ToString() const;

 private:
  KafkaSettings() = default;
  std::string bootstrap_servers_;
  std::vector<std::pair<std::string, std::string>> client_;
};

// Whether a client setting holds a password, key or token.
bool IsSecretKafkaSetting(std::string_view name);

}  // namespace segmentd
