"""What every training run shares: settings, data sources, precision, the pace of saving."""

from blender_core.runtime.extras import require

require("pydantic", feature="training", extra="train")
