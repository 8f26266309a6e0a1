#include "stream/recorded_settings.h"

namespace segmentd {

segments::v1::DecisionSettings Recorded(const Settings& settings) {
  segments::v1::DecisionSettings recorded;
  recorded.set_max_lateness_ms(settings.max_lateness.millis());
  recorded.set_deadline_grace_ms(settings.deadline_grace.millis());
  recorded.set_max_future_skew_ms(settings.max_future_skew.millis());
  recorded.set_max_facts(settings.max_facts);
  recorded.set_max_message_ids(settings.max_message_ids);
  return recorded;
}

Settings FromRecorded(const segments::v1::DecisionSettings& recorded) {
  return {.max_lateness = Duration::Millis(recorded.max_lateness_ms()),
          .deadline_grace = Duration::Millis(recorded.deadline_grace_ms()),
          .max_future_skew = Duration::Millis(recorded.max_future_skew_ms()),
          .max_facts = static_cast<uint32_t>(recorded.max_facts()),
          .max_message_ids = static_cast<uint32_t>(recorded.max_message_ids())};
}

bool Same(const Settings& a, const Settings& b) {
  return a.max_lateness == b.max_lateness && a.deadline_grace == b.deadline_grace &&
         a.max_future_skew == b.max_future_skew && a.max_facts == b.max_facts &&
         a.max_message_ids == b.max_message_ids;
}

}  // namespace segmentd
