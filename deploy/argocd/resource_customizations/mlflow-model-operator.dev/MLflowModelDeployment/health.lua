-- The health of an MLflowModelDeployment for Argo CD.
--
-- Degraded: the resource asks for something that does not work, and somebody has to act.
-- Suspended: as the resource says, or as the registry says with the version before still served,
-- nothing goes on until a person wants it to.
local status = obj.status
if status == nil or status.conditions == nil
    or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "Waiting for the operator"}
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end

local ready = conditions["Ready"]
if ready == nil then
  return {status = "Progressing", message = "Waiting for the operator"}
end
local stalled = conditions["Stalled"]
if stalled ~= nil and stalled.status == "True" then
  return {status = "Degraded", message = stalled.message}
end

local waits_for_a_person = {Stopped = true, RolloutPaused = true, TagsMissing = true}
if waits_for_a_person[ready.reason] then
  return {status = "Suspended", message = ready.message}
end
if ready.status ~= "True" then
  return {status = "Progressing", message = ready.message}
end

-- The resource is as it was applied; what its alias, or an upgrade of the operator, brings besides.
local progressing = conditions["Progressing"]
if progressing ~= nil and progressing.status == "True" then
  return {status = "Progressing", message = progressing.message}
end
if progressing ~= nil and progressing.reason ~= "Complete" then
  return {status = "Suspended", message = progressing.message}
end
local canary = conditions["CanaryReady"]
if canary ~= nil and canary.status ~= "True" then
  local health = canary.reason == "Starting" and "Progressing" or "Suspended"
  return {status = health, message = canary.message}
end
return {status = "Healthy", message = ready.message}
