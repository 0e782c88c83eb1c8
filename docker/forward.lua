-- Forwards each series to Tumorline when no instance of it came for StableAge seconds.
-- By series, not by study: SEG and SR that come back make their study stable again, and everything in it
-- would be sent once more. Tumorline knows its own results when they come back and does nothing with them.
local WANTED = { CT = true, MR = true, PT = true, RTSTRUCT = true, SEG = true, SR = true, PR = true }

function OnStableSeries(series, tags, metadata)
  if WANTED[tags['Modality']] then
    RestApiPost('/modalities/tumorline/store', DumpJson({ Resources = { series }, Asynchronous = true }, true))
  end
end
