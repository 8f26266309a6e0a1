// The option --kafka, in both programs: a list in which each setting stands for itself.
#pragma once

#include <string>
#include <vector>

namespace segmentd {

// "name=value" in lines, as an environment variable holds several: values have commas.
std::vector<std::string> KafkaSettingLines(const char* text);

// Both, in order; of a name the last stays. `stronger` comes last, because librdkafka has two names
// for some settings and takes the later.
std::vector<std::string> MergeKafkaSettings(std::vector<std::string> weaker,
                                            const std::vector<std::string>& stronger);

}  // namespace segmentd
