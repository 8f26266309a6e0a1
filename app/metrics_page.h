// What /metrics says, in Prometheus' text format. Names and meanings are in docs/operations.md.
#pragma once

#include <string>

#include "absl/time/time.h"

#include "stream/instance.h"
#include "stream/kafka_change_feed.h"
#include "stream/kafka_definition_log.h"

namespace segmentd {

// Any thread, as the other one. Before there is an instance.
std::string MetricsPage();
std::string MetricsPage(const StreamInstance& instance, const KafkaDefinitionLog& definitions,
                        const KafkaChangeFeed& changes);

}  // namespace segmentd
