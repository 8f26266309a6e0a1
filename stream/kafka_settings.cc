#include "stream/kafka_settings.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <memory>

namespace segmentd {
namespace {

// What a user may set; a name that ends in "*" stands for all that begin so. What makes the output
// exactly-once is not among them.
constexpr std::array kAllowed = {
    std::string_view("broker.address.family"),
    std::string_view("broker.address.ttl"),
    std::string_view("client.dns.lookup"),
    std::string_view("client.id"),
    std::string_view("client.rack"),
    std::string_view("compression.*"),
    std::string_view("connections.max.idle.ms"),
    std::string_view("debug"),
    std::string_view("enable.metrics.push"),
    std::string_view("enable.sasl.oauthbearer.unsecure.jwt"),
    std::string_view("enable.ssl.certificate.verification"),
    std::string_view("fetch.error.backoff.ms"),
    std::string_view("fetch.max.bytes"),
    std::string_view("fetch.message.max.bytes"),
    std::string_view("fetch.min.bytes"),
    std::string_view("fetch.wait.max.ms"),
    std::string_view("heartbeat.interval.ms"),
    std::string_view("log_level"),
    std::string_view("max.partition.fetch.bytes"),
    std::string_view("max.poll.interval.ms"),
    std::string_view("metadata.*"),
    std::string_view("queued.max.messages.kbytes"),
    std::string_view("queued.min.messages"),
    std::string_view("receive.message.max.bytes"),
    std::string_view("reconnect.*"),
    std::string_view("retry.backoff.*"),
    std::string_view("sasl.*"),
    std::string_view("security.protocol"),
    std::string_view("session.timeout.ms"),
    std::string_view("socket.*"),
    std::string_view("ssl.*"),
    std::string_view("statistics.interval.ms"),
    std::string_view("topic.metadata.*"),
};

struct Refusal {
  std::string_view name;
  std::string_view why;
};

constexpr std::string_view kExactlyOnce =
    "segmentd sets it itself: that every change is written exactly once depends on it";
constexpr std::string_view kRunsCode = "it makes the client load or run other code";

// Asked for by name often enough to deserve a reason; these win over the list above.
constexpr std::array kRefused = {
    Refusal{"acks", kExactlyOnce},
    Refusal{"auto.commit.*", kExactlyOnce},
    Refusal{"auto.offset.reset",
            "where reading starts is decided by --start and the committed "
            "offsets; a position that is gone must be an error"},
    Refusal{"bootstrap.servers", "give the addresses with --bootstrap-servers"},
    Refusal{"check.crcs", kExactlyOnce},
    Refusal{"enable.auto.*", kExactlyOnce},
    Refusal{"enable.gapless.guarantee", kExactlyOnce},
    Refusal{"enable.idempotence", kExactlyOnce},
    Refusal{"enable.partition.eof",
            "segmentd sets it itself: the clock needs to know the end of a "
            "partition"},
    Refusal{"group.id", "the consumer group follows from --topic-prefix"},
    Refusal{"group.instance.id", "it follows from --instance-id"},
    Refusal{"group.*", "segmentd sets it itself: it makes each worker a static member"},
    Refusal{"isolation.level", kExactlyOnce},
    Refusal{"max.in.flight*", kExactlyOnce},
    Refusal{"message.send.max.retries", kExactlyOnce},
    Refusal{"metadata.broker.list", "give the addresses with --bootstrap-servers"},
    Refusal{"partition.assignment.strategy",
            "segmentd sets it itself: partitions move one by one, while the others run on"},
    Refusal{"plugin.library.paths", kRunsCode},
    Refusal{"request.required.acks", kExactlyOnce},
    Refusal{"retries", kExactlyOnce},
    Refusal{"sasl.kerberos.kinit.cmd", kRunsCode},
    Refusal{"socket.nagle.disable", "segmentd sets it itself: transactions would wait for it"},
    Refusal{"ssl.engine.*", kRunsCode},
    Refusal{"ssl.providers", kRunsCode},
    Refusal{"transaction.timeout.ms", kExactlyOnce},
    Refusal{"transactional.id", kExactlyOnce},
};

bool Matches(std::string_view pattern, std::string_view name) {
  if (pattern.ends_with("*")) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return pattern == name;
}

std::string Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

absl::Status CheckName(std::string_view name) {
  for (const Refusal& refusal : kRefused) {
    if (Matches(refusal.name, name)) {
      return absl::InvalidArgumentError(
          fmt::format("Kafka client setting \"{}\" can't be set: {}", name, refusal.why));
    }
  }
  if (std::any_of(kAllowed.begin(), kAllowed.end(),
                  [&](std::string_view allowed) { return Matches(allowed, name); })) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("Kafka client setting \"{}\" can't be set: it is not one that segmentd passes "
                  "on. Allowed: {}",
                  name, fmt::join(kAllowed, " ")));
}

}  // namespace

bool IsSecretKafkaSetting(std::string_view name) {
  // File names ("….location") are no secrets.
  if (name.ends_with(".location")) return false;
  for (std::string_view word :
       {"password", "secret", "pem", "jwt", "token.", "oauthbearer.config"}) {
    if (name.find(word) != std::string::npos && !name.ends_with(".url")) return true;
  }
  return name == "ssl_key" || name == "ssl_certificate" || name == "ssl_ca";
}

absl::StatusOr<KafkaSettings> KafkaSettings::Parse(std::string_view bootstrap_servers,
                                                   const std::vector<std::string>& client) {
  KafkaSettings settings;
  settings.bootstrap_servers_ = Trimmed(bootstrap_servers);
  if (settings.bootstrap_servers_.empty()) {
    return absl::InvalidArgumentError(
        "no address of a Kafka broker: give --bootstrap-servers host:port[,host:port…]");
  }
  const std::unique_ptr<rd_kafka_conf_t, decltype(&rd_kafka_conf_destroy)> conf(
      rd_kafka_conf_new(), rd_kafka_conf_destroy);
  for (const std::string& entry : client) {
    const size_t equals = entry.find('=');
    const std::string name = Trimmed(std::string_view(entry).substr(0, equals));
    if (equals == std::string::npos || name.empty()) {
      // The text may be a lone secret: it is not repeated.
      return absl::InvalidArgumentError("a Kafka client setting has the form name=value");
    }
    const std::string value = entry.substr(equals + 1);
    if (absl::Status status = CheckName(name); !status.ok()) return status;
    char why[512] = "";
    switch (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), why, sizeof(why))) {
      case RD_KAFKA_CONF_OK:
        break;
      case RD_KAFKA_CONF_UNKNOWN:
        return absl::InvalidArgumentError(
            fmt::format("Kafka client setting \"{}\" is unknown to librdkafka", name));
      case RD_KAFKA_CONF_INVALID: {
        const bool tells = IsSecretKafkaSetting(name) && !value.empty() &&
                           std::string_view(why).find(value) != std::string_view::npos;
        return absl::InvalidArgumentError(
            fmt::format("Kafka client setting \"{}\": {}", name,
                        tells ? "the value is not valid" : Trimmed(std::string_view(why))));
      }
    }
    settings.client_.emplace_back(name, value);
  }
  return settings;
}

std::string KafkaSettings::ToString() const {
  std::string text = fmt::format("bootstrap.servers={}", bootstrap_servers_);
  for (const auto& [name, value] : client_) {
    text += fmt::format(" {}={}", name, IsSecretKafkaSetting(name) ? "(secret)" : value);
  }
  return text;
}

}  // namespace segmentd
