// The addresses of Kafka's brokers, as options give them.
#pragma once

#include "absl/status/status.h"

#include "stream/kafka_settings.h"

namespace segmentd {

// "host", "host:port", "[IPv6 address]:port" or, with the protocol that the settings have, such as
// "SSL://host:port". INVALID_ARGUMENT names what is none of these: the Kafka client passes over it,
// or takes it for another address, and what waits for Kafka would wait without end.
absl::Status CheckBrokerAddresses(const KafkaSettings& settings);

}  // namespace segmentd
